"""Collection: unites what all probes want, asks each place once a round, and gives back more material."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from app.errors import RefusedError
from app.model.evidence import Outcome
from app.model.exchange import Exchange
from app.model.material import Document, Material
from app.parsers.exchanges import decode_exchanges, encode_exchanges
from app.ports import Clock, Credential, File, Http, HttpRequest, Item, Journal, KubeApi, NodeRound, Nodes, Tree
from app.ports import Command as NodeCommand
from app.probes.base import Fetch, KubeExec, KubeGet, NodeItem, Probe, Scene, Want
from app.probes.harbor_compose import as_harbor

PAGE: Final = 500
MOST_ITEMS: Final = 20_000
_ROUNDS: Final = 8


class Credentials(Protocol):
    """Finds the login that a want names, and counts failing tries: one for each credential and realm in a whole session."""

    def allow(self) -> None:
        """The operator consents: from here on each pull secret may be tried."""

    def find(self, fetch: Fetch, material: Material) -> tuple[Credential | None, str]:
        """(credential, why not)."""

    def note(self, credential: Credential, request: HttpRequest, status: int | None) -> None:
        """What a try came to."""


class Uploads(Protocol):
    """Starts an upload and cancels it: a write, so the gateway implements it."""

    def allow_upload(self, registry: str) -> None:
        """The operator consents for this registry, `host[:port]`."""

    async def try_upload(self, request: HttpRequest, at: float) -> Exchange:
        """The registry's answer. Raises RefusedError without consent."""


@dataclass(frozen=True, slots=True)
class World:
    """What there is to ask: the live clients, or the simulated cluster."""

    clock: Clock
    kube: dict[str, KubeApi] = field(default_factory=dict)
    """By cluster: `workload`, `harbor`."""
    nodes: Nodes | None = None
    http: Http | None = None
    credentials: Credentials | None = None
    uploads: Uploads | None = None
    jobs: int = 4
    probe_timeout: float = 15.0
    harbor_ssh: str = ""
    """SSH host of Harbor's compose installer: what is read there is Harbor's, not a node's."""


Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total


@dataclass(slots=True)
class Collector:
    """Asks a world for what probes want. Remembers what was asked, so that nothing is asked twice."""

    world: World
    asked: set[object] = field(default_factory=set)
    progress: Progress = _silent

    async def gather(
        self,
        material: Material,
        scene: Scene,
        probes: Sequence[Probe],
        *,
        keep: Callable[[Material], None],
        renew: Callable[[Material, Scene], Scene] | None = None,
    ) -> Material:
        """Rounds until nothing new is wanted (eight at most, since an answer may show where to ask next).

        `keep` is called whenever more is known; `renew` gives the scene as the material then shows it.
        """
        for _ in range(_ROUNDS):
            # In a thread, since it reads the whole material and keys are to be answered meanwhile.
            wants = await asyncio.to_thread(self._wanted, material, scene, probes)
            if not wants:
                break
            material = await self._round(material, wants, keep)
            if renew is not None:
                scene = renew(material, scene)
        return material

    async def repeat(self, material: Material, wants: Sequence[Want], keep: Callable[[Material], None]) -> Material:
        """Ask for these although they were asked for before: a measurement that has to be taken twice."""
        return await self._round(material, wants, keep)

    def forget(self) -> None:
        """Ask for everything again."""
        self.asked.clear()

    def forget_nodes(self) -> None:
        """Ask nodes again for everything: a host key was accepted, so what was refused may be there now."""
        self.asked = {key for key in self.asked if not isinstance(key, NodeItem)}

    def _wanted(self, material: Material, scene: Scene, probes: Sequence[Probe]) -> list[Want]:
        return self._new(want for probe in probes for want in probe.wants(material, scene))

    def _new(self, wants: Iterable[Want]) -> list[Want]:
        fresh = []
        for want in wants:
            key = _key(want)
            if key not in self.asked:
                self.asked.add(key)
                fresh.append(want)
        return fresh

    async def _round(self, material: Material, wants: Sequence[Want], keep: Callable[[Material], None]) -> Material:
        jobs: list[Awaitable[list[Document]]] = []
        for want in wants:
            if isinstance(want, KubeGet):
                jobs.append(self._kube_get(want))
            elif isinstance(want, KubeExec):
                jobs.append(self._kube_exec(want))
        by_node: dict[str, list[Item]] = {}
        for want in wants:
            if isinstance(want, NodeItem) and want.item not in by_node.setdefault(want.node, []):
                by_node[want.node].append(want.item)
        limit = asyncio.Semaphore(self.world.jobs)
        jobs.extend(self._node(node, items, limit) for node, items in by_node.items())
        fetches = [want for want in wants if isinstance(want, Fetch)]
        done = 0
        total = len(jobs) + len(fetches)
        for finished in asyncio.as_completed(jobs):
            material = material.with_documents(await finished)
            keep(material)
            done += 1
            self.progress("evidence", done, total)
        if fetches and self.world.http is not None:
            material = await self._fetch_all(material, fetches, done, total)
            keep(material)
        return material

    # --- Kubernetes ---

    async def _kube_get(self, want: KubeGet) -> list[Document]:
        # Without a context of its own Harbor was looked for, and found, in the workload cluster.
        kube = self.world.kube.get(want.cluster) or self.world.kube.get("workload")
        if kube is None:
            return [
                Document(
                    want.document,
                    outcome=Outcome.SKIPPED,
                    detail=f"no kube API of the {want.cluster} cluster is at hand",
                )
            ]
        return [await read_object(kube, want, self.world.clock.now())]

    async def _kube_exec(self, want: KubeExec) -> list[Document]:
        kube = self.world.kube.get(want.cluster) or self.world.kube.get("workload")
        if kube is None:
            return [Document(want.document, outcome=Outcome.SKIPPED, detail="no kube API is at hand")]
        sent = self.world.clock.now()
        reply = await kube.exec(want.namespace, want.pod, want.container, want.command, *want.arguments)
        received = self.world.clock.now()
        text = reply.body
        if want.command == "date" and reply.outcome is Outcome.OBSERVED:
            try:
                text = json.dumps({"remote": float(reply.body.strip()), "sent": sent, "received": received})
            except ValueError:
                return [Document(want.document, outcome=Outcome.UNPARSABLE, detail=f"date said {reply.body[:60]!r}")]
        return [
            Document(
                want.document,
                text,
                reply.outcome,
                reply.status == 404,
                received,
                detail=reply.detail,
                source=reply.source,
            )
        ]

    # --- Nodes ---

    async def _node(self, node: str, items: list[Item], limit: asyncio.Semaphore) -> list[Document]:
        if self.world.nodes is None:
            return [
                Document(
                    f"nodes/{node}/{_place(item)}", outcome=Outcome.SKIPPED, detail="nodes are not asked in this run"
                )
                for item in items
            ]
        async with limit:
            answer = await self.world.nodes.read(node, items)
        documents = self._whole(node, items, answer)
        return as_harbor(documents, node) if node == self.world.harbor_ssh else documents

    def _whole(self, node: str, items: list[Item], answer: NodeRound) -> list[Document]:
        """The answer with a record for each item that the trouble at the node left out."""
        documents = list(answer.documents)
        if answer.outcome is not Outcome.OBSERVED:
            known = {document.path for document in documents}
            documents += [
                Document(path, outcome=answer.outcome, detail=answer.detail, taken_at=self.world.clock.now())
                for path in (f"nodes/{node}/{_place(item)}" for item in items)
                if path not in known
            ]
            documents.append(
                Document(
                    f"nodes/{node}/ssh.txt",
                    outcome=answer.outcome,
                    detail=answer.detail,
                    taken_at=self.world.clock.now(),
                )
            )
        return documents

    # --- HTTP ---

    async def _fetch_all(self, material: Material, fetches: Sequence[Fetch], done: int, total: int) -> Material:
        """Anonymous requests side by side; those with a credential one after the other, since each failing try counts."""
        free = [fetch for fetch in fetches if not fetch.secret]
        # A login is first tried where its refusal tells most.
        priced = sorted(
            (fetch for fetch in fetches if fetch.secret), key=lambda fetch: fetch.request.purpose != "token-login"
        )
        limit = asyncio.Semaphore(8)

        async def one(fetch: Fetch) -> list[Exchange]:
            async with limit:
                return [await self._exchange(fetch.request, None) for _ in range(fetch.times)]

        found: list[Exchange] = []
        for exchanges in await asyncio.gather(*(one(fetch) for fetch in free)):
            found.extend(exchanges)
            done += 1
            self.progress("registry", done, total)
        material = _with_exchanges(material, found)
        for fetch in priced:
            found = []
            for _ in range(fetch.times):
                credential, why = (
                    self.world.credentials.find(fetch, material)
                    if self.world.credentials
                    else (None, "no credential may be tried in this run")
                )
                if credential is None:
                    found.append(
                        Exchange(
                            fetch.request.url,
                            fetch.request.method,
                            fetch.request.vantage,
                            fetch.request.purpose,
                            login=fetch.secret,
                            login_variant=fetch.variant,
                            error=f"skipped: {why}",
                        )
                    )
                    break
                request = replace(fetch.request, credential=credential, login_variant=fetch.variant)
                exchange = await self._exchange(request, credential)
                found.append(exchange)
                if self.world.credentials:
                    # With a Bearer token the login itself was accepted: what was refused then is the right.
                    self.world.credentials.note(credential, request, None if exchange.bearer else exchange.status)
            material = _with_exchanges(
                material, [exchange for exchange in found if not exchange.error.startswith("skipped:")]
            )
            done += 1
            self.progress("registry", done, total)
        return material

    async def _exchange(self, request: HttpRequest, credential: Credential | None) -> Exchange:
        assert self.world.http is not None  # noqa: S101 - `_round` asks only with one
        if request.purpose == "upload":
            exchange = await self._upload(request)
        else:
            exchange = await self.world.http.exchange(request)
        return (
            replace(exchange, login=credential.origin, login_variant=request.login_variant) if credential else exchange
        )

    async def _upload(self, request: HttpRequest) -> Exchange:
        now = self.world.clock.now()
        refused = Exchange(request.url, request.method, request.vantage, request.purpose, taken_at=now)
        if self.world.uploads is None:
            return replace(refused, error="no upload may be started in this run")
        try:
            return await self.world.uploads.try_upload(request, now)
        except RefusedError as error:
            return replace(refused, error=error.what)


def _key(want: Want) -> object:
    if isinstance(want, Fetch):
        request = want.request
        return (
            "fetch",
            request.url,
            request.method,
            request.vantage,
            request.purpose,
            want.secret,
            want.variant,
            want.times,
            request.anchors_name,
            request.proxy,
            request.address,
        )
    if isinstance(want, KubeGet):
        return ("get", want.path, tuple(sorted(want.query.items())), want.cluster, want.document)
    return want


def _place(item: Item) -> str:
    if isinstance(item, File | Tree):
        return item.path.lstrip("/")
    if isinstance(item, NodeCommand):
        return f"{item.id}.txt"
    assert isinstance(item, Journal)  # noqa: S101 - the union is closed
    return f"{item.unit}.log"


def exchanges_path(vantage: str) -> str:
    """`node/n1` → `nodes/n1/exchanges.json`; everything else is the operator's."""
    return (
        f"nodes/{vantage.partition('/')[2]}/exchanges.json"
        if vantage.startswith("node/")
        else "registry/exchanges.json"
    )


def _with_exchanges(material: Material, found: Iterable[Exchange]) -> Material:
    by_path: dict[str, list[Exchange]] = {}
    for exchange in found:
        by_path.setdefault(exchanges_path(exchange.vantage), []).append(exchange)
    documents = []
    for path, exchanges in by_path.items():
        text = material.text(path)
        known = list(decode_exchanges(text)) if text else []
        documents.append(
            Document(
                path,
                encode_exchanges([*known, *exchanges]),
                taken_at=max((e.taken_at or 0.0 for e in exchanges), default=None),
            )
        )
    return material.with_documents(documents)


async def read_object(kube: KubeApi, want: KubeGet, now: float) -> Document:
    """One object, text or list; a list is read page by page and merged, at most `MOST_ITEMS` items."""
    query = dict(want.query)
    single = want.path.rsplit("/", 1)[-1] == "log" or "/proxy/" in want.path
    if not single and "limit" not in query:
        query["limit"] = str(PAGE)
    reply = await kube.get(want.path, query)
    document = Document(
        want.document, reply.body, reply.outcome, reply.status == 404, now, detail=reply.detail, source=reply.source
    )
    if reply.outcome is not Outcome.OBSERVED or single:
        return document
    try:
        data: Any = json.loads(reply.body)
    except ValueError:
        if document.absent:
            return document
        begin = " ".join(reply.body[:80].split())
        what = f"not JSON came back, but {begin!r}" if begin else "an empty answer came back"
        return replace(document, outcome=Outcome.UNPARSABLE, detail=what)
    metadata = data.get("metadata") if isinstance(data, dict) else None
    following = (metadata or {}).get("continue") if isinstance(metadata, dict) else None
    if not following or "items" not in data:
        return document
    items = list(data["items"])
    while following and len(items) < MOST_ITEMS:
        reply = await kube.get(want.path, {**query, "continue": following})
        if reply.outcome is not Outcome.OBSERVED:
            break
        page = json.loads(reply.body)
        items.extend(page.get("items", []))
        following = (page.get("metadata") or {}).get("continue")
    data["items"] = items
    if following:
        data["metadata"]["remainingItemCount"] = max(1, int(data["metadata"].get("remainingItemCount") or 1))
    else:
        data["metadata"].pop("continue", None)
        data["metadata"].pop("remainingItemCount", None)
    return replace(document, text=json.dumps(data))


__all__ = ["Collector", "Credentials", "Progress", "World", "exchanges_path", "read_object"]
