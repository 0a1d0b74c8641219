#!/usr/bin/env bash
# One entry point: makes .venv, installs what the command needs, runs it. `bash run.sh` lists the commands.
# It may be called from any folder, and paths in the arguments are those of that folder.
set -euo pipefail

ROOT=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=$ROOT/.venv
VENV_PYTHON=$VENV/bin/python
# Without byte code on disk every process compiles what it imports anew: with Paddle, three times the time to start.
unset PYTHONDONTWRITEBYTECODE

usage() {
    cat <<'USAGE'
usage: bash run.sh COMMAND [arguments]

  quickstart [DIR]   raw text -> pre-trained, fine-tuned, exported model, end to end on real text (under 8 minutes)
  tables NAME [ARGS] pre-train and fine-tune all that a table of a paper takes: `ernie2` (Table 7 of ERNIE 2.0),
                     `losses` (Tables 1 and 2 of "On Losses"); `tables NAME --help` lists the options
  SUITE [ARGS]       fine-tune on all tasks of a suite (glue, superglue, …; `ernie list suites`), several seeds each,
                     beside the papers' figures, with the submission; `SUITE --help` lists the options
  test [ARGS]        lint, type check and the whole test suite; ARGS go to pytest
  bench [ARGS]       speed and memory as ratios within one run; `bench --vs torch` adds PyTorch's training step
  doctor [ARGS]      report on Python, Paddle, devices and settings, and what to change
  install            only make .venv and install

Paths are those of the folder you are in; for test and bench those of the project's folder.

Environment: PYTHON        interpreter to make .venv with (3.10, 3.11 or 3.12; default: the newest found)
             PADDLE_WHEEL  cpu or gpu (default: gpu where nvidia-smi works)
             PADDLE_CUDA   CUDA version of the GPU wheel, e.g. 12.6 (default: from the driver)
             PADDLE_INDEX  package index that holds the GPU wheel (default: Paddle's own, for that CUDA version)
             TORCH_INDEX   package index for `bench --vs torch`, e.g. one that holds CPU wheels of PyTorch (default: pip's)
USAGE
}

say() { printf 'run.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

supported() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }
version_of() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "no working Python"; }

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        command -v "$PYTHON" >/dev/null || die "PYTHON=$PYTHON is not a program; name a Python 3.10, 3.11 or 3.12"
        supported "$PYTHON" || die "PYTHON=$PYTHON is $(version_of "$PYTHON"); this project needs Python 3.10, 3.11 or 3.12"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.11 python3.10 python3 python; do
        if command -v "$candidate" >/dev/null && supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "no Python 3.10, 3.11 or 3.12 found (python3 is $(version_of python3)); install one or set PYTHON=/path/to/python"
}

make_venv() {
    local python
    if [[ -e $VENV ]]; then
        [[ -z "${PYTHON:-}" ]] || supported "$PYTHON" || find_python >/dev/null
        supported "$VENV_PYTHON" && return
        die "$VENV holds $(version_of "$VENV_PYTHON"), not Python 3.10-3.12; remove it and run this again"
    fi
    python=$(find_python)
    say "making $VENV with $(version_of "$python")"
    "$python" -m venv "$VENV" || { rm -rf "$VENV"; die "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"; }
}

wheel_kind() {
    if [[ -n "${PADDLE_WHEEL:-}" ]]; then
        [[ $PADDLE_WHEEL == cpu || $PADDLE_WHEEL == gpu ]] || die "PADDLE_WHEEL=$PADDLE_WHEEL; it must be cpu or gpu"
        echo "$PADDLE_WHEEL"
    elif command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
        echo gpu
    else
        echo cpu
    fi
}

# Paddle's wheel has a program `fleetrun` too, and whichever is written last stays. Write the project's programs again,
# and nothing else, where that is not the project's.
keep_fleetrun() {
    grep -q 'propeller\.tools\.fleetrun' "$VENV/bin/fleetrun" 2>/dev/null && return
    say "writing the project's programs again: another fleetrun took the place of its own"
    (cd "$ROOT" && "$VENV_PYTHON" -m pip install -q --no-compile --disable-pip-version-check --no-deps --force-reinstall \
        -e .) || die "installation failed; the lines above say why"
}

# Install the project with the given extras, unless the same was installed before from the same files.
install() {
    local kind fingerprint stamp other extras missing=() extra index=()
    make_venv
    kind=$(wheel_kind)
    fingerprint=$(cat "$ROOT"/{pyproject.toml,setup.py,constraints.txt,ernie_paddle/__init__.py} | "$VENV_PYTHON" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    for extra in "$kind" "$@"; do
        stamp=$VENV/.installed-$extra
        [[ -f $stamp && $(<"$stamp") == "$fingerprint" ]] || missing+=("$extra")
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        keep_fleetrun
        return
    fi

    if [[ $kind == gpu ]]; then other=paddlepaddle; else other=paddlepaddle-gpu; fi
    # Both wheels own the folder `paddle`: two of them at once is a broken installation.
    if "$VENV_PYTHON" -m pip show -q "$other" >/dev/null 2>&1; then
        say "removing $other: it cannot stand beside the $kind wheel"
        "$VENV_PYTHON" -m pip uninstall -q -y paddlepaddle paddlepaddle-gpu
        rm -f "$VENV"/.installed-*
        missing=("$kind" "$@")
    fi
    if [[ $kind == gpu ]]; then
        # The default index holds only 2.6.2 of the GPU wheel; 3.x comes from Paddle's own, one address per CUDA version.
        [[ -n "${PADDLE_INDEX:-}" ]] || PADDLE_INDEX=$(cd "$ROOT" && "$VENV_PYTHON" -m propeller.tools.doctor --paddle_index)
        say "GPU wheel from $PADDLE_INDEX"
        index=(--extra-index-url "$PADDLE_INDEX")
    fi
    extras=$(IFS=,; echo "$kind,$*")
    say "installing .[${extras%,}] (the first time this takes some minutes)"
    (cd "$ROOT" && "$VENV_PYTHON" -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt \
        ${index[@]+"${index[@]}"} -e ".[${extras%,}]") || die "installation failed; the lines above say why"
    keep_fleetrun
    for extra in "${missing[@]}"; do echo "$fingerprint" >"$VENV/.installed-$extra"; done
}

install_torch() {
    "$VENV_PYTHON" -c 'import torch' >/dev/null 2>&1 && return
    say "installing PyTorch"
    "$VENV_PYTHON" -m pip install -q --disable-pip-version-check ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.4" ||
        die "PyTorch could not be installed; the lines above say why"
}

run_tests() {
    cd "$ROOT"
    say "ruff check"
    "$VENV_PYTHON" -m ruff check .
    say "ruff format --check"
    "$VENV_PYTHON" -m ruff format --check .
    say "mypy"
    "$VENV_PYTHON" -m mypy reader propeller ernie_paddle
    say "pytest"
    # One thread per worker: two workers with two threads each only fight for the cores.
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$VENV_PYTHON" -m pytest -n 2 --durations=15 "$@"
}

command=${1:-help}
[[ $# -gt 0 ]] && shift
case $command in
    quickstart)
        install visualdl
        # A folder may be given by its name alone.
        if [[ $# -gt 0 && $1 != -* ]]; then set -- --output "$@"; fi
        exec "$VENV/bin/ernie" quickstart "$@"
        ;;
    tables | doctor)
        install
        exec "$VENV/bin/ernie" "$command" "$@"
        ;;
    test)
        install dev visualdl
        run_tests "$@"
        ;;
    bench)
        install
        case " $* " in *" --vs torch "* | *" --vs=torch "*) install_torch ;; esac
        cd "$ROOT"
        exec "$VENV_PYTHON" -m bench "$@"
        ;;
    install) install "$@" ;;
    help | -h | --help) usage ;;
    *)
        # Every suite that `ernie list suites` knows is a command.
        if [[ $command =~ ^[a-z0-9_]+$ && -f $ROOT/configs/benchmarks/$command.yaml ]]; then
            install
            exec "$VENV/bin/ernie" benchmarks "$command" "$@"
        fi
        say "there is no command '$command'"
        usage >&2
        exit 2
        ;;
esac
