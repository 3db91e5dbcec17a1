"""The plugin: reports, options, and many workers."""

import time

ONE_TEST = """
    import http.client

    def test_one(fake_openai):
        connection = http.client.HTTPConnection(fake_openai.url.split("/")[2])
        connection.request("POST", "/" + fake_openai.base_url.split("/", 3)[3] + "/chat/completions", '{"model": "gpt-4o"}')
        status = connection.getresponse().status
        assert status == EXPECTED
"""


def test_the_report_of_a_failure_has_the_requests_and_their_errors(pytester):
    pytester.makepyfile(ONE_TEST.replace("EXPECTED", "200"))
    result = pytester.runpytest_subprocess("-p", "no:xdist")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*- fake_openai -*",
        "1 request at http://127.0.0.1:*/~scope=test_one.main.*",
        "1. POST /v1/chat/completions model=gpt-4o 400",
        "   *messages*",
    ])


def test_a_success_prints_nothing(pytester):
    pytester.makepyfile(ONE_TEST.replace("EXPECTED", "400"))
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*- fake_openai -*")


def test_flags_of_the_server_come_from_the_command_line_or_the_ini_file(pytester):
    pytester.makepyfile("def test_args(fake_openai_server): print(fake_openai_server.args)")
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-s", "--fake-openai-args=--rpm 7 --models a,b")
    result.stdout.fnmatch_lines(["*('--rpm', '7', '--models', 'a,b')*"])
    pytester.makeini("[pytest]\nfake_openai_args = --rpm 9")
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-s")
    result.stdout.fnmatch_lines(["*('--rpm', '9')*"])


def test_a_wrong_flag_fails_the_tests_with_the_remedy(pytester):
    pytester.makepyfile("def test_any(fake_openai): pass")
    result = pytester.runpytest_subprocess("-p", "no:xdist", "--fake-openai-args=--rmp 7")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*did you mean `--rpm`*"])


def test_tests_may_share_a_server_that_runs(pytester, fake_openai_server):
    pytester.makepyfile("def test_url(fake_openai): print('at', fake_openai.url)")
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-s", f"--fake-openai-url={fake_openai_server.url}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*at {fake_openai_server.url}/~scope=test_url.main.*"])


def test_400_tests_in_8_workers_do_not_disturb_each_other(pytester, capsys):
    pytester.makepyfile(
        """
        import http.client, json, os
        import pytest

        @pytest.mark.parametrize("number", range(400))
        def test_own(fake_openai, number):
            def ask(content):
                connection = http.client.HTTPConnection(fake_openai.url.split("/")[2])
                path = "/" + fake_openai.base_url.split("/", 3)[3] + "/chat/completions"
                body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
                connection.request("POST", path, json.dumps(body))
                response = connection.getresponse()
                body = json.loads(response.read())
                connection.close()
                return response.status, body

            # The same conditions in all tests, and another reply in each.
            fake_openai.reply(sequence=[{"text": f"first {number}"}, {"text": f"second {number}"}])
            fake_openai.fault("429x1")
            assert ask("Hi")[0] == 429
            for word in ("first", "second"):
                status, body = ask("Hi")
                assert body["choices"][0]["message"]["content"] == f"{word} {number}"
            assert [request.status for request in fake_openai.requests] == [429, 200, 200]
            fake_openai.verify(user="Hi", times=3)
        """
    )
    begin = time.perf_counter()
    result = pytester.runpytest_subprocess("-n", "8", "-q", "--maxfail=3", "--tb=short")
    result.assert_outcomes(passed=400)
    with capsys.disabled():
        print(f"\npython: 400 tests in 8 workers: {time.perf_counter() - begin:.1f} s")
