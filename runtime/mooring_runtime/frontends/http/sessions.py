"""/v2/sessions: list, look at, make, copy, reset and end sessions, at any replica. `docs/openapi/sessions.yaml` says it
to programs.

What concerns one session is done by the replica that has it: `local=true` keeps a request at the replica that it came
to, which then answers 421 `not-here` for a session of another one, and names that where it knows it. So replicas ask
each other, and so can people.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from mooring_runtime.errors import InvalidRequest, RequestError, Unavailable, UnknownModel
from mooring_runtime.errors.sessions import BadSession, SessionUnavailable
from mooring_runtime.frontends.http.answers import Later
from mooring_runtime.frontends.http.messages import OCTETS, Reply, Request, Respond, json_reply
from mooring_runtime.frontends.http.router import Found, Router
from mooring_runtime.frontends.http.services import Answer, Opening, Route, Services
from mooring_runtime.frontends.http.session_access import GIVEN, Access, Right, TokenFile
from mooring_runtime.frontends.http.session_answers import document_of, page_of, passed_back
from mooring_runtime.frontends.http.session_calls import Asked, asked, id_of, text_of
from mooring_runtime.frontends.http.session_paths import ALL, IMPORT, path_of
from mooring_runtime.frontends.v2.sessions import NEW
from mooring_runtime.scheduling import Ticket
from mooring_runtime.sessions.administration import Call, SessionAdministration, Told, unpacked
from mooring_runtime.sessions.copies import Kept
from mooring_runtime.sessions.elsewhere import NotHere
from mooring_runtime.sessions.inspection import traced
from mooring_runtime.sessions.keys import Key
from mooring_runtime.sessions.listing import Page, joined, query_of

MISDIRECTED = 421
_TRIES = 4
"""Replicas that are asked about one session, at most: it may move meanwhile, but not that often."""

Work = Callable[[], Awaitable[Reply]]
Make = Callable[[SessionAdministration, Asked], Awaitable[Reply]]


class Sessions:
    """The handlers of one port."""

    def __init__(self, administration: SessionAdministration | Opening, access: Access) -> None:
        self._administration = administration
        self._access = access
        self._later = Later()

    @classmethod
    def of(cls, services: Services) -> "Sessions":
        """Of the port of HTTP, at a server that keeps sessions."""
        assert services.sessions is not None
        options = services.options
        token = None if options.session_token_file is None else TokenFile(options.session_token_file)
        return cls(services.sessions, Access(GIVEN[options.session_api], token))

    def routes(self) -> list[Route]:
        """The table."""
        table: list[tuple[str, str, Right, Make]] = [
            ("GET", "", Right.READ, self._inspect),
            ("DELETE", "", Right.FULL, self._drop),
            ("GET", "export", Right.FULL, self._export),
            ("POST", "fork", Right.FULL, self._fork),
            ("POST", "reset", Right.FULL, self._reset),
            ("POST", "end", Right.FULL, self._end),
            ("GET", "trace", Right.READ, self._trace),
            ("POST", "trace", Right.FULL, self._watch),
        ]
        return [
            ("GET", ALL, self._answer("", Right.READ, self._list)),
            ("POST", ALL, self._answer("", Right.READ, self._create)),
            ("POST", IMPORT, self._answer("", Right.FULL, self._import)),
            *((method, path_of(word), self._answer(word, right, make)) for method, word, right, make in table),
        ]

    def _answer(self, word: str, right: Right, make: Make) -> Callable[[Found[Any], Request, Respond], None]:
        def answer(found: Found[Any], request: Request, respond: Respond) -> None:
            self._access.require(request, right)
            administration = self._administration
            if isinstance(administration, Opening):
                if administration.administration is None:
                    raise _undone(Unavailable("the volume of the sessions is not open yet"))
                administration = administration.administration
            self._later.answer(respond, self._made(make(administration, asked(found, request, word))))

        return answer

    @staticmethod
    async def _made(making: Awaitable[Reply]) -> Reply:
        try:
            return await making
        except NotHere as error:
            document = {"error": str(error), "cause": "not-here", "applied": "no", "at": error.at}
            return json_reply(MISDIRECTED, {**document, "moving": error.moving})
        except (InvalidRequest, UnknownModel, Unavailable) as error:
            raise _undone(error) from None

    # --- many

    async def _list(self, administration: SessionAdministration, call: Asked) -> Reply:
        call.allow("model", "state", "prefix", "limit", "page_token")
        query = query_of(call.parameters)
        if call.local:
            return _page_reply(await administration.page(query), [])
        path = f"/v2/sessions?{urlencode({**call.parameters, 'local': 'true'})}"
        ordinals = [administration.ordinal, *administration.others.ordinals()]
        asking: list[Awaitable[Page | Told]] = [administration.page(query)]
        asking += [administration.others.ask(ordinal, Call("GET", path)) for ordinal in ordinals[1:]]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        pages: list[Page] = []
        unanswered: list[dict[str, object]] = []
        for ordinal, answer in zip(ordinals, answers, strict=True):
            try:
                pages.append(page_of(answer))
            except RequestError as error:
                unanswered.append({"ordinal": ordinal, "error": str(error)})
        return _page_reply(joined(pages, query.limit), unanswered)

    async def _create(self, administration: SessionAdministration, call: Asked) -> Reply:
        call.allow()
        document = call.document("model", "id")
        model = administration.model(text_of(document, "model"))
        wanted = id_of(text_of(document, "id"))

        async def work() -> Reply:
            return json_reply(201, await administration.create(model, wanted))

        body = orjson.dumps({"model": model, "id": wanted or NEW})
        return await self._where_allowed(administration, call, Call("POST", "/v2/sessions?local=true", body), work)

    async def _import(self, administration: SessionAdministration, call: Asked) -> Reply:
        call.allow("model", "id")
        packed = await unpacked(call.body)
        model = call.parameters.get("model") or packed.key.model
        wanted = call.parameters.get("id") or packed.key.session
        return await self._bring(administration, call, Key(model, wanted), packed.kept, call.body)

    async def _bring(
        self, administration: SessionAdministration, call: Asked, key: Key, kept: Kept, file: bytes
    ) -> Reply:
        """A session under `key`, whose id may be NEW, as the file says that one is."""
        wanted = id_of(key.session)

        async def work() -> Reply:
            return json_reply(201, await administration.bring(key.model, wanted, kept))

        query = urlencode({"model": key.model, "id": wanted or NEW, "local": "true"})
        return await self._where_allowed(administration, call, Call("POST", f"/v2/sessions/import?{query}", file), work)

    async def _where_allowed(self, administration: SessionAdministration, call: Asked, same: Call, work: Work) -> Reply:
        """Make a session here, or have the replica make it that may."""
        try:
            return await work()
        except NotHere as error:
            if call.local:
                raise
            at, moving = error.at, error.moving
        return await self._ask(administration, same, at, moving=moving)

    # --- one

    async def _inspect(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)

        async def work() -> Reply:
            return json_reply(200, await administration.inspect(key))

        return await self._at_holder(administration, call, key, work)

    async def _export(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)

        async def work() -> Reply:
            headers = ((b"Content-Disposition", b"attachment"),)
            return Reply(200, (await administration.export(key),), OCTETS, headers, as_is=True)

        return await self._at_holder(administration, call, key, work)

    async def _fork(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)
        target = text_of(call.document("id"), "id") or NEW
        exported = await self._export(administration, call._replace(method="GET", word="export", body=b""))
        file = b"".join(exported.body)
        if exported.status != 200:
            return exported
        packed = await unpacked(file)
        # Where the session comes from may be another replica than where the new one goes.
        return await self._bring(administration, call, Key(key.model, target), packed.kept, file)

    async def _reset(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)

        async def work() -> Reply:
            return json_reply(200, await administration.reset(key))

        return await self._at_holder(administration, call, key, work)

    async def _end(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)

        async def work() -> Reply:
            return json_reply(200, await administration.end(key))

        return await self._at_holder(administration, call, key, work)

    async def _drop(self, administration: SessionAdministration, call: Asked) -> Reply:
        """Wherever it was set aside: where its place is, somebody else may have a good copy."""
        key = self._key(administration, call)
        if call.local or administration.torn(key):
            return json_reply(200, await administration.drop(key))
        silent: list[str] = []
        for ordinal in administration.others.ordinals():
            try:
                told = await administration.others.ask(ordinal, _same(call, key))
            except SessionUnavailable as error:
                silent.append(str(error))
                continue
            if told.status != MISDIRECTED:
                return passed_back(told)
        if silent:
            raise SessionUnavailable(f"session '{key.session}' may be set aside elsewhere: {silent[0]}", "search")
        raise BadSession(
            f"session '{key.session}' was set aside nowhere, and only what was is dropped; one that can be used is "
            "ended by POST .../end",
            session=key.session,
        )

    async def _trace(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)

        async def work() -> Reply:
            return _trace_of(administration, key)

        return await self._at_holder(administration, call, key, work)

    async def _watch(self, administration: SessionAdministration, call: Asked) -> Reply:
        key = self._key(administration, call)
        keep = call.document("keep").get("keep")
        if type(keep) is not int:
            raise BadSession(f"keep is {keep!r:.100}: it must be the number of steps that the trace keeps; 0: none")

        async def work() -> Reply:
            administration.watch(key, keep)
            return _trace_of(administration, key)

        return await self._at_holder(administration, call, key, work)

    @staticmethod
    def _key(administration: SessionAdministration, call: Asked) -> Key:
        call.allow("model")
        session = id_of(call.session)
        if session is None:
            raise BadSession(f"'{NEW}' names no session that is there")
        return Key(administration.model(call.parameters.get("model")), session)

    async def _at_holder(self, administration: SessionAdministration, call: Asked, key: Key, work: Work) -> Reply:
        """Have the replica answer that has the session."""
        ordinal = await administration.locate(key, local=call.local)
        if ordinal is None:
            try:
                return await work()
            except NotHere as error:
                if call.local:
                    raise
                at, moving = error.at, error.moving  # It has left meanwhile.
        else:
            at, moving = ordinal, False
        return await self._ask(administration, _same(call, key), at, moving=moving)

    # --- others

    async def _ask(self, administration: SessionAdministration, same: Call, at: int | None, *, moving: bool) -> Reply:
        """Have another replica answer, and the one that it points to."""
        for _ in range(_TRIES):
            if at is None or moving:
                break
            told = await administration.others.ask(at, same)
            if told.status != MISDIRECTED:
                return passed_back(told)
            document = document_of(told)
            at, moving = document.get("at"), document.get("moving") is True
        told_ = "is moving to another replica" if moving else "is where nobody says, for members change"
        raise SessionUnavailable(f"this session {told_}; try again", "moving" if moving else "search")


class PeerSessionsHandler:
    """The same API on the peer port, whose own token everybody there has shown."""

    def __init__(self, administration: SessionAdministration) -> None:
        sessions = Sessions(administration, Access(Right.FULL, None))
        self._router: Router[Answer] = Router(*sessions.routes())

    def __call__(self, request: Request, respond: Respond) -> Ticket | None:
        """Answer one request. Raises RequestError."""
        found = self._router.find(request.method, request.target)
        return found.handler(found, request, respond)


def _same(call: Asked, key: Key) -> Call:
    """The same request about a session, for another replica."""
    target = f"/v2/sessions/{quote(key.session, safe='')}{'/' if call.word else ''}{call.word}"
    return Call(call.method, f"{target}?{urlencode({'model': key.model, 'local': 'true'})}", call.body)


def _undone(error: RequestError) -> RequestError:
    """The error, which says that nothing was done."""
    if error.applied is None:
        error.applied = "no"
    return error


def _page_reply(page: Page, unanswered: list[dict[str, object]]) -> Reply:
    rows = [asdict(row) for row in page.rows]
    return json_reply(200, {"sessions": rows, "next_page_token": page.token, "unanswered": unanswered})


def _trace_of(administration: SessionAdministration, key: Key) -> Reply:
    steps = administration.trace(key)
    return json_reply(200, {"keeps": administration.traces.bound(key), "steps": [traced(step) for step in steps]})
