/* HTTP requests that do not succeed: what is said of them. Answers are tested where they are read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/web.h"

/* Nobody listens at port 1. */
static void an_error_names_the_host_alone(void **state) {
    static const char *const urls[] = {
        "http://127.0.0.1:1",
        "http://127.0.0.1:1/path?a=b@c",
        "http://127.0.0.1:1/@path",
        "http://name@127.0.0.1:1/path",
        "http://name:password@127.0.0.1:1/path",
    };
    static const char kBegin[] = "http://127.0.0.1:1: ";
    sg_web *web;

    (void)state;
    assert_int_equal(sg_web_create(&web), SG_OK);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const sg_web_request request = {.method = "GET", .url = urls[i], .direct = true};
        sg_web_answer answer;

        assert_int_equal(sg_web_perform(web, &request, &answer), SG_ERR_UNAVAILABLE);
        if (strncmp(sg_last_error(), kBegin, strlen(kBegin)) != 0)
            fail_msg("%s: %s", urls[i], sg_last_error());
        assert_null(strstr(sg_last_error(), "password"));
    }
    sg_web_destroy(web);
}

static void a_url_that_is_none(void **state) {
    const sg_web_request request = {.method = "GET", .url = "no scheme", .direct = true};
    sg_web_answer answer;
    sg_web *web;

    (void)state;
    assert_int_equal(sg_web_create(&web), SG_OK);
    assert_int_equal(sg_web_perform(web, &request, &answer), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "no scheme: "));
    sg_web_destroy(web);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_the_host_alone),
        cmocka_unit_test(a_url_that_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
