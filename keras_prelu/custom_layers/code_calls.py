"""The rectifiers that the Python code of a layer calls as functions.

`keras.activations.relu(x)` in the `call` of a layer is no object that could be replaced: the code
itself has to ask what to call. So `CodeCalls` of a layer puts a followed copy of the layer's `call`
(see `followed_functions`) into the layer's instance dictionary, as long as a rectifier in it is
replaced or observed. The copy asks at each call: a function of the user's is followed in turn, a
rectifier is looked up by its key, and anything else is called as it is. Layers that the code calls
are left to `CodeCalls` of their own.

The key of a rectifier consists of the texts of the calls that lead to it from `call`, such as
`self.block(x) -> tf.nn.relu(y)`. The passes of a Python loop count: `relu(x) [pass 2]` is the
second time that one run of a function comes to a call, and a run with another number of passes than
at the conversion is refused, since it is not known which slopes belong to which. A function that is
handed to a library, such as the body of `keras.ops.scan`, has the same keys whenever it runs. So
keys depend on nothing but the source of the code, and are the same in any process and on any
backend. If the code at a key is changed, the key is gone, and the code is refused as soon as it
runs.

Methods that `call` calls at one place only are followed from outside as well: `model.decode(z)`
applies the slopes that it has in `call`.

On each backend, nothing of Keras's, TensorFlow's, JAX's or PyTorch's is patched, other layers and
threads are not affected, and a compiled function contains what was in place when it was traced.
Functions that the code has compiled (`tf.function`, `jax.jit`) and those without a source are not
followed.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.custom_layers.code_frames import Place
from keras_prelu.custom_layers.code_keys import parameters_of, prefix_of, prefixes_of_methods
from keras_prelu.custom_layers.expected_calls import ExpectedCalls
from keras_prelu.custom_layers.followed_functions import FollowedFunctions, scope_of_method
from keras_prelu.custom_layers.instrumented_code import CallSite, call_sites
from keras_prelu.custom_layers.rectifier_functions import RectifierUse, rectifier_use
from keras_prelu.custom_layers.selections import expression_use, selection_use
from keras_prelu.custom_layers.source_scan import rectifiers_in_source
from keras_prelu.errors import ConversionError
from keras_prelu.graph.backend_functions import BackendFunction, is_of_backend
from keras_prelu.graph.hooks import HookTarget, without_hooks
from keras_prelu.graph.rectifiers import Rectifier, named
from keras_prelu.typing import Tensor
from keras_prelu.utils.libraries import is_of_user

__all__ = ["CALL_AS_WRITTEN", "CodeCalls", "CodeRectifier", "Listener", "code_calls_of"]

CALL_AS_WRITTEN = "_call_as_written"
"""The attribute of a converted layer through which it runs the `call` of the user's class."""


@dataclass(frozen=True)
class CodeRectifier:
    """A rectifier that code calls.

    Attributes:
        key: String. See the module.
        rectifier: `Rectifier`. What is applied.
        site: `CallSite`. Where the code is.
        repetition: String. "", that it is a later pass of a Python loop, or that all passes of a
            loop of the backend, or all calls of a function that is handed on, share slopes.
    """

    key: str
    rectifier: Rectifier
    site: CallSite
    repetition: str


_COMPILED = (
    "a function that is compiled on its own calls it: leave the compilation to Keras (no"
    " tf.function or jax.jit), or give the layer a keras.layers.ReLU() for it"
)
Listener = Callable[["CodeCalls", CodeRectifier], None]
_CODE_CALLS: weakref.WeakKeyDictionary[Any, CodeCalls] = weakref.WeakKeyDictionary()


def code_calls_of(layer: Any) -> CodeCalls:
    """Return the `CodeCalls` of a layer: always the same object."""
    if layer not in _CODE_CALLS:
        _CODE_CALLS[layer] = CodeCalls(layer)
    return _CODE_CALLS[layer]


class CodeCalls:
    """The rectifiers that the code of one layer calls.

    As a mapping, it has what is called at each key, and assigning replaces it. So
    `HookTarget(code_calls, "functions", (key,))` is a rectifier that can be hooked.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = weakref.ref(layer)
        self._replaced: dict[str, Callable[[Tensor], Tensor]] = {}
        self._as_written: dict[str, Callable[[Tensor], Tensor]] = {}
        self._listeners: list[Listener] = []
        self._makes_nodes = 0
        self._followed = FollowedFunctions(self)
        self._reached: set[CallSite] = set()
        self.expected = ExpectedCalls(layer.name, type(layer))

    @property
    def functions(self) -> CodeCalls:
        """The mapping itself, as an attribute for hooks."""
        return self

    @property
    def layer(self) -> Any:
        return self._layer()

    @property
    def trainable(self) -> bool:
        return bool(self.layer.trainable)

    @property
    def can_follow(self) -> bool:
        """Whether the code of the layer is the user's, and its source is known."""
        written = self._call
        return self.followed(written, "") is not written

    @property
    def _call(self) -> Any:
        cls = type(self.layer)
        return getattr(cls, "converted_from", cls).call

    @property
    def reached(self) -> frozenset[CallSite]:
        """The calls of functions that may rectify to which the code came while it was heard."""
        return frozenset(self._reached)

    def target(self, key: str) -> HookTarget:
        """Return the target that applies the rectifier at a key."""
        return HookTarget(self, "functions", (key,))

    def __getitem__(self, key: str) -> Callable[[Tensor], Tensor]:
        return self._replaced.get(key) or _AsWritten(self, key)

    def __setitem__(self, key: str, function: Callable[[Tensor], Tensor]) -> None:
        if isinstance(function, _AsWritten):
            self._replaced.pop(key, None)
        else:
            self._replaced[key] = function
        # What observes the code takes it as it is.
        self.expected.set_keys(
            each for each, function in self._replaced.items() if hasattr(function, "stands_in")
        )
        self._put_in_place()

    @contextmanager
    def heard_by(self, listener: Listener) -> Iterator[None]:
        """Call a listener for each rectifier that the code applies as written."""
        self._listeners.append(listener)
        self._put_in_place()
        try:
            yield
        finally:
            self._listeners.remove(listener)
            self._put_in_place()

    @contextmanager
    def making_nodes(self) -> Iterator[None]:
        """Let functions of the backend take symbolic tensors, and be nodes of their graph."""
        self._makes_nodes += 1
        self._put_in_place()
        try:
            yield
        finally:
            self._makes_nodes -= 1
            self._put_in_place()

    def callee(self, function: Any) -> Any:
        """Return what the code calls instead of a function of a library."""
        if not self._makes_nodes or not is_of_backend(function):
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            leaves = keras.tree.flatten((args, kwargs))
            is_symbolic = any(keras.utils.is_keras_tensor(leaf) for leaf in leaves)
            return (BackendFunction(function) if is_symbolic else function)(*args, **kwargs)

        return call

    def hear_compiled(self, function: Any, prefix: str, site: CallSite) -> None:
        """Tell listeners of the rectifiers in a function that is compiled on its own.

        Such a function can't be followed: calls of it in the code may not run its Python code.

        Raises:
            ConversionError: There are slopes for calls in it.
        """
        is_plain = isinstance(function, (types.FunctionType, types.MethodType, keras.Operation))
        if is_plain or not (self._listeners or self.expected):
            return
        written = getattr(function, "python_function", getattr(function, "__wrapped__", None))
        if isinstance(written, types.FunctionType) and is_of_user(written):
            self.expected.refuse_unfollowed(prefix_of(prefix + site.text), written)
            if self._listeners:
                self._reached.update(call_sites(written) or ())
            for number, name in enumerate(rectifiers_in_source(written)):
                rectifier = replace(named(name, "code") or Rectifier("code"), reason=_COMPILED)
                key = prefix_of(prefix + site.text) + f"{name} {number}"
                for listener in self._listeners:
                    listener(self, CodeRectifier(key, rectifier, site, ""))

    def call_as_written(self, key: str, tensor: Tensor) -> Tensor:
        """Apply the rectifier that the code calls at a key, which was reached before."""
        return self._as_written[key](tensor)

    def apply(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place
    ) -> Any:
        """Call what the code calls, or what replaces it.

        Args:
            function: Callable. What the code calls.
            args: Tuple. Its positional arguments.
            kwargs: Dict. Its keyword arguments.
            place: `Place`. The call.
        """
        use = rectifier_use(function, args, kwargs)
        if use is None:
            use = selection_use(function, args, kwargs, place.site.text)
        callee = self.callee(function) if use is None else function
        return self._applied(use, lambda: callee(*args, **kwargs), place)

    def apply_expression(self, value: Any, compute: Callable[[], Any], place: Place) -> Any:
        """Return the value of an expression that rectifies, or of what replaces it.

        Args:
            value: Any. What it rectifies.
            compute: Callable. Returns the value of the expression as it is written.
            place: `Place`. The expression.
        """
        return self._applied(expression_use(value, place.site.text), compute, place)

    def _applied(self, use: RectifierUse | None, compute: Callable[[], Any], place: Place) -> Any:
        if self._listeners:
            self._reached.add(place.site)
        if use is None:
            self.expected.refuse_other_arguments(place.key)
            return compute()
        key = place.key + parameters_of(use.rectifier)
        self._as_written[key] = use.apply
        replacement = self._replaced.get(key)
        if replacement is not None:
            return replacement(use.tensor)
        self.expected.refuse_other_arguments(place.key)
        for listener in self._listeners:
            listener(self, CodeRectifier(key, use.rectifier, place.site, place.repetition))
        return compute()

    def followed(self, function: Any, prefix: str) -> Any:
        """Return a function of the user's that asks this object; anything else as it is.

        Args:
            function: Any. A function, method, partial or callable object; or anything else.
            prefix: String. The part of the keys that leads to the function.
        """
        return self._followed.followed(function, prefix)

    def _put_in_place(self) -> None:
        """Put the followed `call` in place if anything needs it, or remove it."""
        layer = self.layer
        is_converted = hasattr(type(layer), CALL_AS_WRITTEN)
        name = CALL_AS_WRITTEN if is_converted else "call"
        attributes = vars(layer)
        present = attributes.get(name)
        if not (self._replaced or self._listeners or self._makes_nodes):
            if self._owns(present):
                del attributes[name]
        elif present is None:
            if self.can_follow:
                attributes[name] = types.MethodType(self.followed(self._call, ""), layer)
            elif self.expected:
                raise self.expected.unfollowed("its `call`")
        elif not self._owns(without_hooks(present)):
            raise ConversionError(
                f"The `call` of layer '{layer.name}' ({type(layer).__name__}) is replaced already,"
                " so the functions that it calls can't be."
            )

        self._put_methods_in_place(attributes)

    def _put_methods_in_place(self, attributes: dict[str, Any]) -> None:
        """Let methods that `call` calls apply their slopes when they are called from outside."""
        prefixes = prefixes_of_methods(self._replaced)
        for name in [name for name, value in attributes.items() if self._owns(value)]:
            if name not in (*prefixes, "call", CALL_AS_WRITTEN):
                del attributes[name]
        for name, prefix in prefixes.items():
            method = inspect.getattr_static(type(self.layer), name, None)
            if name not in attributes and isinstance(method, types.FunctionType):
                followed = self.followed(method, prefix)
                if followed is not method:
                    attributes[name] = types.MethodType(followed, self.layer)

    def _owns(self, method: Any) -> bool:
        scope = scope_of_method(method)
        return scope is not None and scope.calls is self


class _AsWritten:
    """What the code calls at a key, as it is written."""

    def __init__(self, calls: CodeCalls, key: str) -> None:
        self._calls = calls
        self._key = key

    def __call__(self, tensor: Tensor) -> Tensor:
        return self._calls.call_as_written(self._key, tensor)
