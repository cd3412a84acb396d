/* The plug-in around Gloo: found, loaded, and given what it can bear. */
#define _GNU_SOURCE
#include "dist/transport_inside.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/mem.h"
#include "dist/gloo_plugin.h"
#include "gpu/libraries.h"
#include "spotgrad.h"

enum { kPath = 4096, kWhy = 512 };

typedef struct {
    sg_transport transport;
    const sg_gloo_plugin *plugin;
    sg_gloo *gloo;
    int rank, size;
} wrapped;

/* What it lacks does not come by waiting: SG_ERR_CONFIG, after which nobody starts it again. */
static sg_status load(const sg_gloo_plugin **out) {
    static const char name[] = "/libspotgrad_gloo.so";
    const sg_gloo_plugin *plugin;
    char path[kPath];
    void *library;

    SG_TRY(sg_program_folder(path, sizeof path - sizeof name));
    strcat(path, name);
    if (access(path, R_OK) != 0)
        return sg_fail(SG_ERR_CONFIG,
                       "%s is not there, and workers on several machines need it: install "
                       "libgloo-dev, run `make`, and put it beside the program",
                       path);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* once; it stays */
    if (!library)
        return sg_fail(SG_ERR_CONFIG, "%s cannot be loaded (Gloo itself is Debian's libgloo0): %s",
                       path, dlerror());
    plugin = dlsym(library, SG_GLOO_SYMBOL);
    if (!plugin || strcmp(plugin->version, SG_GLOO_VERSION) != 0)
        return sg_fail(SG_ERR_CONFIG,
                       "%s is of version %s, this program of %s: build both again (make)", path,
                       plugin ? plugin->version : "unknown", SG_GLOO_VERSION);
    *out = plugin;
    return SG_OK;
}

bool sg_transport_has_gloo(void) {
    const sg_gloo_plugin *plugin;

    return load(&plugin) == SG_OK;
}

/* Gloo resolves what it is told, and dereferences nothing where there is no such name; of an
 * address that is not this machine's it loses memory. */
static sg_status check_address(const char *text) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    int fd, bound, error;

    if (!text || inet_pton(AF_INET, text, &own.sin_addr) != 1)
        return sg_fail(SG_ERR_ARG, "gloo: %s is no IPv4 address", text ? text : "NULL");
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&own, sizeof own);
    error = errno;
    if (fd >= 0) close(fd);
    return bound == 0 ? SG_OK : sg_fail(SG_ERR_UNAVAILABLE, "gloo: %s: %s", text, strerror(error));
}

static sg_status pass_on(sg_status st, const char *why) {
    return st == SG_OK || why[0] == '\0' ? st : sg_fail(st, "%s", why);
}

static sg_status exchange(sg_transport *transport, const sg_transfer *message, int n,
                          double seconds) {
    wrapped *t = (wrapped *)transport;
    char why[kWhy] = "";

    SG_TRY(sg_transport_check_messages(message, n, t->rank, t->size));
    return pass_on(t->plugin->exchange(t->gloo, message, n, seconds, why, sizeof why), why);
}

static void abort_all(sg_transport *transport) {
    wrapped *t = (wrapped *)transport;

    t->plugin->abort(t->gloo);
}

static void destroy(sg_transport *transport) {
    wrapped *t = (wrapped *)transport;

    t->plugin->destroy(t->gloo);
    sg_free(t);
}

sg_status sg_transport_gloo_create(const sg_transport_options *options, sg_transport **out) {
    char why[kWhy] = "";
    const sg_gloo_plugin *plugin = NULL;
    wrapped *t;
    sg_status st;

    SG_TRY(sg_transport_check(options));
    SG_TRY(check_address(options->interface));
    SG_TRY(load(&plugin));
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "no memory for a transport");
    *t = (wrapped){
        {"gloo", exchange, abort_all, destroy}, plugin, NULL, options->rank, options->size};
    st = pass_on(plugin->create(options, &t->gloo, why, sizeof why), why);
    if (st == SG_OK)
        *out = &t->transport;
    else
        sg_free(t);
    return st;
}
