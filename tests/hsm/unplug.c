/* A PKCS#11 module for tests: SoftHSM, whose token can be pulled out and put back.
 *
 * The file that PLUG names says "out" or "in", and a number. Each change ends every
 * session and login, as pulling out a real token does: old handles stay dead when it is
 * back. (SoftHSM alone keeps all in memory, and goes on signing without its files.) Each
 * login leaves an octet in the file that LOGINS names. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong;
typedef ulong function(ulong, ulong, ulong, ulong, ulong);

/* CK_FUNCTION_LIST: its functions by their place in the standard. */
struct list {
    unsigned char version[2];
    function *functions[68];
};
enum {
    GET_FUNCTION_LIST = 3,
    GET_SLOT_LIST = 4,
    GET_SLOT_INFO = 5,
    GET_TOKEN_INFO = 6,
    OPEN_SESSION = 12,
    CLOSE_ALL_SESSIONS = 14,
    GET_SESSION_INFO = 15,
    LOGIN = 18,
    GET_ATTRIBUTE_VALUE = 24,
    FIND_OBJECTS_INIT = 26,
    SIGN_INIT = 42,
    SIGN = 43,
};
enum { DEVICE_REMOVED = 0x32, TOKEN_NOT_PRESENT = 0xe0 };

static struct list *inner, outer;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char before[16];

/* Whether the token is out; ends its sessions when something has changed. */
static int pulled(void)
{
    char now[sizeof before] = "in 0";
    pthread_mutex_lock(&lock);
    FILE *plug = fopen(getenv("PLUG"), "r");
    if (plug) {
        fgets(now, sizeof now, plug);
        fclose(plug);
    }
    if (before[0] && strcmp(before, now) != 0) {
        ulong slots[16], count = 16;
        inner->functions[GET_SLOT_LIST](1, (ulong)slots, (ulong)&count, 0, 0);
        for (ulong slot = 0; slot < count; slot++)
            inner->functions[CLOSE_ALL_SESSIONS](slots[slot], 0, 0, 0, 0);
    }
    strcpy(before, now);
    pthread_mutex_unlock(&lock);
    return strncmp(now, "out", 3) == 0;
}

#define WRAP(NAME, ABSENT)                                          \
    static ulong wrapped_##NAME(ulong a, ulong b, ulong c, ulong d, \
                                ulong e)                            \
    {                                                               \
        return pulled() ? ABSENT : inner->functions[NAME](a, b, c, d, e); \
    }
WRAP(GET_TOKEN_INFO, TOKEN_NOT_PRESENT)
WRAP(OPEN_SESSION, TOKEN_NOT_PRESENT)
WRAP(GET_SESSION_INFO, DEVICE_REMOVED)
WRAP(GET_ATTRIBUTE_VALUE, DEVICE_REMOVED)
WRAP(FIND_OBJECTS_INIT, DEVICE_REMOVED)
WRAP(SIGN_INIT, DEVICE_REMOVED)
WRAP(SIGN, DEVICE_REMOVED)

static ulong wrapped_LOGIN(ulong a, ulong b, ulong c, ulong d, ulong e)
{
    FILE *logins = fopen(getenv("LOGINS"), "a");
    fputc('x', logins);
    fclose(logins);
    return pulled() ? DEVICE_REMOVED : inner->functions[LOGIN](a, b, c, d, e);
}

/* CK_SLOT_INFO.flags stand behind 64 and 32 octets of text; bit 0: a token is there. */
static ulong wrapped_GET_SLOT_INFO(ulong slot, ulong info, ulong c, ulong d, ulong e)
{
    int out = pulled();
    ulong result = inner->functions[GET_SLOT_INFO](slot, info, c, d, e);
    if (result == 0 && out)
        *(ulong *)(info + 96) &= ~1ul;
    return result;
}

ulong C_GetFunctionList(struct list **list)
{
    if (!inner) {
        void *module = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW);
        ulong (*get)(struct list **) =
            module ? (ulong(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || get(&inner))
            return 5; /* CKR_GENERAL_ERROR */
        memcpy(&outer, inner, sizeof outer);
        outer.functions[GET_FUNCTION_LIST] = (function *)C_GetFunctionList;
#define PUT(NAME) outer.functions[NAME] = wrapped_##NAME
        PUT(GET_SLOT_INFO);
        PUT(GET_TOKEN_INFO);
        PUT(OPEN_SESSION);
        PUT(GET_SESSION_INFO);
        PUT(LOGIN);
        PUT(GET_ATTRIBUTE_VALUE);
        PUT(FIND_OBJECTS_INIT);
        PUT(SIGN_INIT);
        PUT(SIGN);
    }
    *list = &outer;
    return 0;
}
