/* The ceiling of FastCGI: an answer of the same size with nothing behind it, on libfcgi,
 * the library of the protocol's authors. `hello SOCKET THREADS BODY_FILE [FIELDS_FILE]`,
 * where FIELDS_FILE has further header lines. */

#include <fcgiapp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static int listener;
static char body[65536];
static size_t body_length;
static char fields[65536];
static size_t fields_length;

static void *serve(void *nothing)
{
    (void)nothing;
    FCGX_Request request;
    char question[65536];
    FCGX_InitRequest(&request, listener, 0);
    while (FCGX_Accept_r(&request) == 0) {
        while (FCGX_GetStr(question, sizeof question, request.in) > 0) {
        }
        FCGX_FPrintF(request.out,
                     "Status: 200 OK\r\nContent-Type: application/ocsp-response\r\n"
                     "Content-Length: %d\r\n", (int)body_length);
        FCGX_PutStr(fields, (int)fields_length, request.out);
        FCGX_PutStr("\r\n", 2, request.out);
        FCGX_PutStr(body, (int)body_length, request.out);
        FCGX_Finish_r(&request);
    }
    return NULL;
}

static size_t load(const char *path, char *place, size_t room)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t length = fread(place, 1, room, file);
    fclose(file);
    return length;
}

int main(int count, char **arguments)
{
    if (count != 4 && count != 5) {
        fprintf(stderr, "usage: hello SOCKET THREADS BODY_FILE [FIELDS_FILE]\n");
        return 2;
    }
    body_length = load(arguments[3], body, sizeof body);
    if (count == 5) {
        fields_length = load(arguments[4], fields, sizeof fields);
    }
    FCGX_Init();
    umask(0);
    listener = FCGX_OpenSocket(arguments[1], 1024);
    if (listener < 0) {
        fprintf(stderr, "hello: cannot listen\n");
        return 1;
    }
    int threads = atoi(arguments[2]);
    pthread_t last;
    for (int started = 0; started < threads; started++) {
        if (pthread_create(&last, NULL, serve, NULL) != 0) {
            perror("hello: thread");
            return 1;
        }
    }
    pthread_join(last, NULL);
    return 0;
}
