"""The page of a run that failed says what happened and what now, whatever it failed of; and shows no secret."""

from __future__ import annotations

from trainmaster.errors import DeploymentFailedError, RefusedError, TrainingRefusedError
from trainmaster.reporting.failure_page import failure_page
from trainmaster.training.problems import Problem


def test_a_refusal_lists_each_problem_with_what_to_do_and_says_that_nothing_began() -> None:
    problems = [Problem("spot", "max_wait is 1.", "Give 2."), Problem("quota", "There is | none.", "Ask <b>AWS</b>.")]
    page = failure_page("train cats #1", TrainingRefusedError("Training cats", problems))
    assert page.startswith("# train cats \\#1: refused\n\n**Training cats was not launched.**")
    assert "| spot | max\\_wait is 1. | Give 2. |" in page
    assert "| quota | There is \\| none. | Ask \\<b\\>AWS\\</b\\>. |" in page
    assert "What is refused was not begun, and costs nothing." in page


def test_a_failure_shows_all_its_lines_without_secrets_and_goes_on_from_there() -> None:
    said = "It did not answer.\nThe endpoint was removed.\nsee https://b/k?X-Amz-Signature=abcdef0123"
    page = failure_page("deploy cats", DeploymentFailedError(said))
    assert page.startswith("# deploy cats: failed\n\n**It did not answer.**")
    assert "    The endpoint was removed." in page
    assert "abcdef0123" not in page
    assert "it goes on from there" in page


def test_what_nobody_foresaw_says_so_and_a_process_that_died_says_what_is_known() -> None:
    assert "Nobody foresaw this." in failure_page("open notes", KeyError("x"), "KeyError: 'x'")
    died = failure_page("open notes", None, "Flow run process exited with non-zero status code -9.")
    assert "**Flow run process exited with non-zero status code -9.**" in died
    assert "# open notes: refused" in failure_page("open notes", RefusedError("No. Ask Anna."))
