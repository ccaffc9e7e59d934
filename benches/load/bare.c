/* The ceiling of new questions: does for each only what none can do without, and checks nothing.
 * A row by libmariadb, a signature by libcrypto, a file written beside its place and renamed, over
 * kept connections with a thread for each. Everybody is good.
 *
 * `bare PORT THREADS DATA_SOCKET USER PASSWORD DATABASE KEY TBS ALGORITHM [FOLDER]`, where TBS is a
 * ResponseData about one certificate, by SHA-1 and with a serial of 20 octets as those of all
 * questions, and ALGORITHM the AlgorithmIdentifier of its signature; without FOLDER no files. */

#define _GNU_SOURCE /* memmem, strcasestr, accept4 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <mariadb/mysql.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SERIAL = 20, BEFORE_SERIAL = 57, ROOM = 8192 };

static char **arguments;
static int listener;
static EVP_PKEY *key;
static EVP_MD *sha256;
static unsigned char tbs[ROOM], algorithm[ROOM];
static size_t tbs_length, algorithm_length;

static void fail(const char *what)
{
    fprintf(stderr, "bare: %s\n", what);
    exit(1);
}

static void need(int holds, const char *what)
{
    if (!holds) {
        fail(what);
    }
}

static size_t load(const char *path, unsigned char *place)
{
    FILE *file = fopen(path, "rb");
    need(file != NULL, path);
    size_t length = fread(place, 1, ROOM, file);
    fclose(file);
    return length;
}

/* Where a CertID has its serial: AlgorithmIdentifier, name and key of the issuer stand before. */
static unsigned char *serial_in(unsigned char *octets, size_t length)
{
    unsigned char *found = memmem(octets, length, "\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a", 9);
    need(found != NULL, "no CertID by SHA-1");
    return found + BEFORE_SERIAL;
}

/* Puts a header of DER before `length` octets that begin at `content`; where it begins. */
static unsigned char *head(unsigned char tag, unsigned char *content, size_t length)
{
    unsigned char *at = content;
    *--at = length;
    if (length >= 256) {
        *--at = length >> 8;
        *--at = 0x82;
    } else if (length >= 128) {
        *--at = 0x81;
    }
    *--at = tag;
    return at;
}

/* The OCSPResponse around a signed ResponseData, at the end of `place`; where it begins. */
static unsigned char *assemble(unsigned char *place, const unsigned char *signed_data,
                               const unsigned char *signature, size_t signature_length)
{
    static const unsigned char successful[] = {0x0a, 1, 0};
    static const unsigned char basic[] = {6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 1};
    unsigned char *end = place + ROOM, *at = end;
    memcpy(at -= signature_length, signature, signature_length);
    *--at = 0;
    at = head(3, at, end - at);
    memcpy(at -= algorithm_length, algorithm, algorithm_length);
    memcpy(at -= tbs_length, signed_data, tbs_length);
    at = head(0x30, at, end - at);
    at = head(4, at, end - at);
    memcpy(at -= sizeof basic, basic, sizeof basic);
    at = head(0x30, at, end - at);
    at = head(0xa0, at, end - at);
    memcpy(at -= sizeof successful, successful, sizeof successful);
    return head(0x30, at, end - at);
}

struct worker {
    MYSQL_STMT *statement;
    char name[2 + 2 * SERIAL + 1]; /* 0x and the serial in hexadecimal */
    EVP_PKEY_CTX *signer;
    EVP_MD_CTX *hash;
    pthread_t thread;
};

static void look_up(struct worker *own)
{
    char fields[4][64];
    unsigned long lengths[4];
    my_bool nulls[4];
    MYSQL_BIND results[4];
    memset(results, 0, sizeof results);
    for (int column = 0; column < 4; column++) {
        results[column].buffer_type = MYSQL_TYPE_STRING;
        results[column].buffer = fields[column];
        results[column].buffer_length = sizeof fields[column];
        results[column].length = &lengths[column];
        results[column].is_null = &nulls[column];
    }
    need(!mysql_stmt_execute(own->statement), mysql_stmt_error(own->statement));
    need(!mysql_stmt_bind_result(own->statement, results), "bind");
    need(mysql_stmt_fetch(own->statement) == 0, "no row");
    mysql_stmt_free_result(own->statement);
}

static void keep(struct worker *own, const unsigned char *answer, size_t length)
{
    char path[4096], temporary[4096];
    const char *folder = arguments[10], *serial = own->name + 2;
    const char *bucket = serial + 2 * SERIAL - 2;
    snprintf(path, sizeof path, "%s/%s/%s.der", folder, bucket, serial);
    snprintf(temporary, sizeof temporary, "%s/%s/%s.tmp", folder, bucket, serial);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    need(file >= 0, temporary);
    need(write(file, answer, length) == (ssize_t)length, temporary);
    close(file);
    need(rename(temporary, path) == 0, path);
}

static void answer(struct worker *own, int client, unsigned char *question, size_t length)
{
    unsigned char place[ROOM], own_tbs[ROOM], digest[32], signature[1024];
    size_t signature_length = sizeof signature;
    unsigned char *serial = serial_in(question, length);
    for (int octet = 0; octet < SERIAL; octet++) {
        sprintf(own->name + 2 + 2 * octet, "%02x", serial[octet]);
    }
    look_up(own);
    memcpy(own_tbs, tbs, tbs_length);
    memcpy(serial_in(own_tbs, tbs_length), serial, SERIAL);
    EVP_DigestInit_ex2(own->hash, sha256, NULL);
    EVP_DigestUpdate(own->hash, own_tbs, tbs_length);
    EVP_DigestFinal_ex(own->hash, digest, NULL);
    need(EVP_PKEY_sign(own->signer, signature, &signature_length, digest, sizeof digest) == 1,
         "sign");
    unsigned char *response = assemble(place, own_tbs, signature, signature_length);
    size_t response_length = place + ROOM - response;
    if (arguments[10] != NULL) {
        keep(own, response, response_length);
    }
    char text[256];
    int text_length = snprintf(text, sizeof text,
                               "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n"
                               "Content-Length: %zu\r\n\r\n", response_length);
    memcpy(response - text_length, text, text_length);
    size_t whole = text_length + response_length;
    need(send(client, response - text_length, whole, MSG_NOSIGNAL) == (ssize_t)whole, "send");
}

static void serve(struct worker *own, int client)
{
    unsigned char received[ROOM + 1];
    size_t length = 0;
    for (;;) {
        ssize_t count = recv(client, received + length, ROOM - length, 0);
        if (count <= 0) {
            return;
        }
        length += count;
        received[length] = 0;
        char *body = strstr((char *)received, "\r\n\r\n");
        char *field = strcasestr((char *)received, "Content-Length:");
        if (body == NULL || field == NULL) {
            continue;
        }
        body += 4;
        size_t wanted = strtoul(field + 15, NULL, 10);
        if (received + length < (unsigned char *)body + wanted) {
            continue;
        }
        answer(own, client, (unsigned char *)body, wanted);
        length = 0; /* each client waits for its answer */
    }
}

static void *work(void *of)
{
    struct worker *own = of;
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        need(client >= 0, "accept");
        serve(own, client);
        close(client);
    }
    return NULL;
}

static void get_ready(struct worker *own)
{
    MYSQL *database = mysql_init(NULL);
    need(mysql_real_connect(database, NULL, arguments[4], arguments[5], arguments[6], 0,
                            arguments[3], 0) != NULL, mysql_error(database));
    static const char query[] = "SELECT cert_num, status, revocation_time, revocation_reason "
                                "FROM list_certs WHERE cert_num = ?";
    own->statement = mysql_stmt_init(database);
    need(!mysql_stmt_prepare(own->statement, query, sizeof query - 1), "prepare");
    memcpy(own->name, "0x", 2);
    static unsigned long name_length = sizeof own->name - 1;
    MYSQL_BIND parameter = {.buffer_type = MYSQL_TYPE_STRING, .buffer = own->name,
                            .buffer_length = sizeof own->name, .length = &name_length};
    need(!mysql_stmt_bind_param(own->statement, &parameter), "bind");
    own->hash = EVP_MD_CTX_new();
    own->signer = EVP_PKEY_CTX_new(key, NULL);
    need(EVP_PKEY_sign_init(own->signer) == 1, "sign_init");
    need(EVP_PKEY_CTX_set_signature_md(own->signer, sha256) == 1, "set_signature_md");
}

int main(int count, char **all)
{
    need(count == 10 || count == 11, "see its source for what it wants");
    arguments = all;
    FILE *file = fopen(all[7], "r");
    need(file != NULL, all[7]);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    need(key != NULL, "no key");
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    tbs_length = load(all[8], tbs);
    algorithm_length = load(all[9], algorithm);
    for (int bucket = 0; count == 11 && bucket < 256; bucket++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%02x", all[10], bucket);
        need(mkdir(path, 0700) == 0, path);
    }
    int threads = atoi(all[2]);
    struct worker *workers = calloc(threads, sizeof *workers);
    for (int number = 0; number < threads; number++) {
        get_ready(&workers[number]);
    }
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(all[1])),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    need(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "cannot bind");
    need(listen(listener, 1024) == 0, "cannot listen");
    for (int number = 0; number < threads; number++) {
        need(!pthread_create(&workers[number].thread, NULL, work, &workers[number]), "no thread");
    }
    pthread_join(workers[0].thread, NULL);
    return 0;
}
