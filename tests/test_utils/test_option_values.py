"""Values of --cfg-options: what is Python, what is a string, and what is a mistake."""

import argparse
import math

import pytest

from lightvit_dense.utils.option_values import OptionsAction, format_option, parse_option

VALUES = {
    '8': 8, '-3': -3, '-1e-4': -1e-4, '.5': 0.5, 'None': None, 'true': True, 'False': False,
    'inf': math.inf, "'8'": '8', '"None"': 'None', '007': '007', '2024-01-01': '2024-01-01', '': '',
    '/my data/x': '/my data/x', '/x,y/z': '/x,y/z', '/a[1]/b': '/a[1]/b', "/it's/x": "/it's/x",
    '(old)/x': '(old)/x', '{x}/y': '{x}/y', 'C:\\new\\x': 'C:\\new\\x', 'b=c': 'b=c',
    '1,2,3': [1, 2, 3], 'bbox,segm': ['bbox', 'segm'], '[cat,dog]': ['cat', 'dog'],
    '[(1,2),(3,4)]': [(1, 2), (3, 4)], '(1,)': (1,), '()': (), '[]': [], 'dict()': {},
    '[/a/b, c d]': ['/a/b', 'c d'], '[None,true,-1]': [None, True, -1],
    'dict(momentum=0.5)': dict(momentum=0.5), "{'b': 1}": dict(b=1), '{b: inf}': dict(b=math.inf),
    'dict(type=A.B, checkpoint=/x/y z.pth)': dict(type='A.B', checkpoint='/x/y z.pth'),
    "dict(x=dict(y=[1,2]), z=(3,'a,b'))": dict(x=dict(y=[1, 2]), z=(3, 'a,b')),
    "__import__('os')": "__import__('os')",
}  # fmt: skip


@pytest.mark.parametrize('text', VALUES)
def test_values(text):
    key, value = parse_option(f'a.b={text}')
    assert (key, value, type(value)) == ('a.b', VALUES[text], type(VALUES[text]))


@pytest.mark.parametrize('value', [*VALUES, *VALUES.values(), '[x', "'", ' a ', 'a\nb', 1e-5])
def test_what_is_written_is_read_again(value):
    assert parse_option(format_option('key', value)) == ('key', value)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('lr', "'lr' is not KEY=VALUE"),
        ('=3', "'=3' is not KEY=VALUE"),
        ('a=[1,2', r'a=\[1,2: missing \] at the end; quote'),
        ('a=dict(b=1', r'missing \) at the end'),
        ('a=[x)y]', r"do not match at '\)y\]'"),
        ('a=dict(b)', 'an entry of the dict is not KEY=VALUE'),
        ("a='x", "the ' is not closed"),
    ],
)
def test_mistakes_are_errors_of_the_command_line(word, message, capsys):
    with pytest.raises(ValueError, match=message):
        parse_option(word)
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', word])
    assert 'argument --cfg-options: ' in capsys.readouterr().err
    words = ['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'a=3']
    assert parser.parse_args(words).cfg_options == dict(a=3, b=2)
