"""Applications that go on asking while something happens to their deployment: every answer is counted, whole or not."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import openai
from openai import OpenAI
from paddock_local.demo.world import World

from e2e.responder import WORD

SECONDS = 600.0


@dataclass
class Asking:
    """Answers of so many tokens, so many at once, one after the other until it is told to stop; each is counted."""

    world: World
    clients: int
    served: str
    tokens: int = 40
    whole: int = 0
    problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Asking":
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was begun is answered to its end."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        with client(self.world) as own:
            while not self._over.is_set():
                try:
                    text = streamed(own, served=self.served, tokens=self.tokens)
                except openai.APIError as error:
                    self.problems.append(repr(error))
                    time.sleep(0.5)
                    continue
                if text == WORD * self.tokens:
                    with self._counting:
                        self.whole += 1
                else:
                    self.problems.append(f"cut: {text!r}")


def client(world: World) -> OpenAI:
    """acme's application. It tries nothing twice."""
    return OpenAI(base_url=f"{world.gateway_url}/v1", api_key=world.secret("acme-key"), max_retries=0, timeout=SECONDS)


def streamed(own: OpenAI, *, served: str, tokens: int) -> str:
    """The whole text of a streamed answer."""
    messages: Any = [{"role": "user", "content": "Count."}]
    chunks = own.chat.completions.create(model=served, messages=messages, max_tokens=tokens, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
