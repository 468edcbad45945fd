"""A presigned address of Studio lets one visitor in, once, before its time is over."""

from __future__ import annotations

from trainmaster.embedded.sagemaker.studio.tickets import Tickets, Visit

VISIT = Visit("d-1", "ada", "notes", "app:JupyterLab:")


def test_a_ticket_is_good_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue(VISIT, now=100.0, seconds=300)
    assert tickets.take(ticket, now=101.0) == VISIT
    assert tickets.take(ticket, now=102.0) is None


def test_a_ticket_is_good_until_its_time_is_over() -> None:
    tickets = Tickets()
    early, late = (tickets.issue(VISIT, now=100.0, seconds=5) for _ in range(2))
    assert tickets.take(early, now=104.9) == VISIT
    assert tickets.take(late, now=105.0) is None


def test_what_was_never_issued_is_no_ticket() -> None:
    assert Tickets().take("anything", now=0.0) is None
