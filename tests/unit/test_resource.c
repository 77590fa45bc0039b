#include "telemetry/resource.h"
#include "tests/unit/runner.h"

#include <string.h>
#include <unistd.h>

static const struct metric_attribute *find(const struct resource *resource, const char *key)
{
    const struct metric_attribute *found = NULL;
    for (size_t i = 0; i < resource->n; i++)
        if (!strcmp(resource->attributes[i].key, key)) {
            ck_assert_msg(!found, "%s is there twice", key);
            found = &resource->attributes[i];
        }
    return found;
}

static void expect(const struct resource_settings *settings, const char *key, const char *text)
{
    struct resource *resource;
    ck_assert_int_eq(resource_new(settings, &resource), 0);
    const struct metric_attribute *found = find(resource, key);
    ck_assert_msg(found && found->text, "%s", key);
    ck_assert_str_eq(found->text, text);
    resource_free(resource);
}

START_TEST(by_default)
{
    struct resource *resource, *next;
    struct resource_settings settings = {.version = "1.2.3"};
    ck_assert_int_eq(resource_new(&settings, &resource), 0);
    ck_assert_str_eq(find(resource, "service.name")->text, "opensandbox-egress-1.2.3");
    ck_assert_str_eq(find(resource, "service.version")->text, "1.2.3");
    ck_assert_str_eq(find(resource, "telemetry.sdk.name")->text, "opensandbox-egress");
    ck_assert_str_eq(find(resource, "telemetry.sdk.language")->text, "c");
    ck_assert_str_eq(find(resource, "telemetry.sdk.version")->text, "1.2.3");
    ck_assert_str_eq(find(resource, "os.type")->text, "linux");
    ck_assert(*find(resource, "host.name")->text && *find(resource, "host.arch")->text);
    const struct metric_attribute *pid = find(resource, "process.pid");
    ck_assert(!pid->text && pid->integer == getpid());
    ck_assert_ptr_null(find(resource, "sandbox_id"));

    ck_assert_int_eq(resource_new(&settings, &next), 0);
    const char *uuid = find(resource, "service.instance.id")->text;
    ck_assert_uint_eq(strlen(uuid), 36);
    ck_assert(uuid[14] == '4' && strchr("89ab", uuid[19]) && uuid[8] == '-' && uuid[23] == '-');
    ck_assert_str_ne(uuid, find(next, "service.instance.id")->text);
    resource_free(resource);
    resource_free(next);
}
END_TEST

START_TEST(who_names_the_service)
{
    static const struct attribute given[] = {{"service.name", "first"}, {"service.name", "given"}};
    struct resource_settings settings = {.version = "1", .given = given, .n_given = 2};
    expect(&settings, "service.name", "given");
    settings.service_name = "named";
    expect(&settings, "service.name", "named");
}
END_TEST

START_TEST(what_is_given_goes_before_what_is_found_but_not_before_what_is_sure)
{
    static const struct attribute given[] = {
        {"host.name", "pod"}, {"sandbox_id", "other"}, {"telemetry.sdk.name", "x"}, {"process.pid", "no"},
        {"team", ""},         {"service.version", "9"}};
    struct resource_settings settings = {.version = "1", .given = given, .n_given = 6};
    expect(&settings, "host.name", "pod");
    expect(&settings, "process.pid", "no");
    expect(&settings, "team", "");
    expect(&settings, "service.version", "9");
    expect(&settings, "telemetry.sdk.name", "opensandbox-egress");
    expect(&settings, "sandbox_id", "other"); /* no other is set */
    settings.sandbox_id = "sbx";
    expect(&settings, "sandbox_id", "sbx");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("resource");
    TCase *tcase = tcase_create("resource");
    tcase_add_test(tcase, by_default);
    tcase_add_test(tcase, who_names_the_service);
    tcase_add_test(tcase, what_is_given_goes_before_what_is_found_but_not_before_what_is_sure);
    suite_add_tcase(suite, tcase);
    return suite;
}
