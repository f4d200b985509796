"""keras_prelu.custom_layers.instrumented_code: a followed function computes what the original does,
and asks at each of its calls."""

import functools
import importlib.util

import pytest

from keras_prelu.custom_layers.instrumented_code import call_sites, follow, scope_of


class Recorder:
    """A scope and its frames, which records the numbers of calls."""

    def __init__(self):
        self.calls = []
        self.arguments = []

    def frame(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def finished(self, value):
        return value

    def call(self, number, function):
        self.calls.append(number)
        return function

    def argument(self, number, position, value):
        self.arguments.append((number, position))
        return value


def add(x, y=2):
    return x + y


ABSOLUTE = 3


class Base:
    def run(self, x):
        return 10 * x


class Derived(Base):
    __offset = 5

    def __hidden(self, x):
        return x + self.__offset

    def run(self, x, *, start=ABSOLUTE):
        """With a docstring."""
        act = lambda t: add(t) + max(t, 0)  # noqa: E731

        def inner(z):
            nonlocal x
            x = x + 1
            return add(z, y=x)

        try:
            match x:
                case 4 if (y := add(x)) > 0:
                    total = y
                case _:
                    total = 0
        finally:
            total = total + 1
        return (
            total + super().run(x) + self.__hidden(x) + sum(act(i) for i in range(2)) + inner(start)
        )

    @staticmethod
    def many(*args, **kwargs):
        return [add(*args, **kwargs) for _ in range(2)] + [add(1), add(1)]

    @functools.cached_property
    def value(self):
        return add(1, 1)


def in_closure(c):
    return lambda q: add(q) + c, lambda q: add(q) * c


WITH_LAMBDA = lambda x, f=lambda y: add(y) * 100: f(x) + add(x - 1)  # noqa: E731


def generator(n):
    for i in range(n):
        yield add(i)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (Derived.run, (Derived(), 4), {}),
        (Derived.run, (Derived(), 4), {"start": 7}),
        (Derived.many, (1,), {"y": 3}),
        (in_closure(3)[0], (5,), {}),
        (in_closure(3)[1], (5,), {}),
        (vars(Derived)["value"].func, (Derived(),), {}),
        (add, (1,), {}),
        (WITH_LAMBDA, (4,), {}),
    ],
)
def test_a_followed_function_computes_the_same(function, args, kwargs):
    scope = Recorder()
    followed = follow(function, scope)
    assert followed(*args, **kwargs) == function(*args, **kwargs)
    assert followed.__name__ == function.__name__
    assert followed.__qualname__ == function.__qualname__
    assert followed.__defaults__ == function.__defaults__
    assert followed.__kwdefaults__ == function.__kwdefaults__
    assert followed.__doc__ == function.__doc__
    assert not hasattr(followed, "__wrapped__")
    assert scope_of(followed) is scope
    assert scope_of(function) is None
    texts = [site.text for site in call_sites(function)]
    assert set(scope.calls) <= set(range(len(texts)))
    assert bool(scope.calls) == bool(texts)


def test_generators_are_followed():
    scope = Recorder()
    assert list(follow(generator, scope)(3)) == [2, 3, 4]
    assert [call_sites(generator)[number].text for number in scope.calls] == [
        "range(n)",
        *3 * ["add(i)"],
    ]


def test_calls_are_known_by_their_text_and_number():
    texts = [site.text for site in call_sites(Derived.many)]
    assert texts == ["range(2)", "add(*args, **kwargs)", "add(1)@1/2", "add(1)@2/2"] or texts == [
        "add(*args, **kwargs)",
        "range(2)",
        "add(1)@1/2",
        "add(1)@2/2",
    ]
    assert "super()" not in [site.text for site in call_sites(Derived.run)]
    site = call_sites(in_closure(3)[1])[0]
    assert (site.text, site.function) == ("add(q)", "in_closure.<locals>.<lambda>")
    assert site.file == __file__


def test_a_followed_function_can_get_another_scope():
    first, second = Recorder(), Recorder()
    again = follow(follow(Derived.many, first), second)
    again(1)
    assert not first.calls
    assert second.calls


def test_code_without_its_source_is_not_followed(tmp_path):
    namespace = {}
    exec("def unknown(x):\n    return abs(x)", namespace)
    assert follow(namespace["unknown"], Recorder()) is None
    path = tmp_path / "edited.py"
    path.write_text("def edited(x):\n    return abs(x)\n")
    spec = importlib.util.spec_from_file_location("edited", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path.write_text("def edited(x):\n    return -abs(x)\n")
    assert follow(module.edited, Recorder()) is None
