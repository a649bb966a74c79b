#!/usr/bin/env bash
# The environment in .venv, made on first use and repaired when it is incomplete or out of date.
#
#   bash environment/ensure.sh [all|dev]     all: what a pipeline needs (default); dev: also what the tests need
#
# Sourced by spark-submit.sh, run by the Makefile. Costs a few milliseconds when there is nothing to do.

purchasepath_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# Path of a Python that setup.py allows and that runs (a pyenv shim may be on the PATH and not run), or nothing:
# PURCHASEPATH_PYTHON, the one of an environment that is there, the system's, or the newest.
find_python() {
  local candidate
  for candidate in "${PURCHASEPATH_PYTHON:-}" "$purchasepath_root/.venv/bin/python" python3 python3.13 python3.12 python3.11 python; do
    if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
      return
    fi
  done
}

# Major version of the JDK in a directory, from its `release` file: starting a JVM to ask would cost every run.
java_version() {
  sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release" 2>/dev/null
}

# Home of a JDK that Spark 4 runs on (17, or 21): JAVA_HOME, the one on the PATH, or one the system keeps; or nothing.
find_java_home() {
  local on_path home
  on_path=$(readlink -f "$(command -v java)" 2>/dev/null) || on_path=
  for home in "${JAVA_HOME:-}" "${on_path%/bin/java}" /usr/lib/jvm/*17* /usr/lib/jvm/*21* \
      /Library/Java/JavaVirtualMachines/*/Contents/Home /opt/homebrew/opt/openjdk@17/libexec/openjdk.jdk/Contents/Home; do
    if [[ -n $home && -x $home/bin/java && $(java_version "$home") =~ ^(17|21)$ ]]; then
      echo "$home"
      return
    fi
  done
}

# Prints, for each prerequisite that is missing, its name and its package for apt-get, dnf and brew.
list_missing() {
  local python=$1 v
  if [[ -z $python ]]; then
    echo "Python 3.11, 3.12 or 3.13|python3 python3-venv python3-dev|python3.12 python3.12-devel|python@3.13"
  else
    v=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "Python's venv module|python$v-venv|python$v|python@$v"
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
      echo "Python's headers (Python.h)|python$v-dev|python$v-devel|python@$v"
  fi
  [[ -n $(find_java_home) ]] || echo "JDK 17|openjdk-17-jdk-headless|java-17-openjdk-devel|openjdk@17"
  command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || echo "a C++ compiler|g++|gcc-c++|gcc"
  command -v make >/dev/null || echo "make|make|make|make"
}

# Succeeds when nothing is missing; else says what is and which command installs it, all at once.
check_prerequisites() {
  local missing manager=1 install="apt-get install"
  missing=$(list_missing "$1")
  [[ -n $missing ]] || return 0
  if command -v apt-get >/dev/null; then manager=2 install="sudo apt-get update && sudo apt-get install -y"
  elif command -v dnf >/dev/null; then manager=3 install="sudo dnf install -y"
  elif command -v brew >/dev/null; then manager=4 install="brew install"
  fi
  {
    echo "error: Purchasepath needs what this machine lacks:"
    cut -d'|' -f1 <<<"$missing" | sed 's/^/  - /'
    if [[ $manager == 1 ]]; then
      echo "install these with the package manager of your system, then run this again"
    else
      echo "install it with:"
      echo "  $install $(cut -d'|' -f$manager <<<"$missing" | tr '\n' ' ')"
      echo "then run this again; ./spark-submit.sh doctor looks closer"
    fi
  } >&2
  return 2
}

# What .venv/complete-* says when everything is as these files want it.
wanted_stamp() {
  (cd "$purchasepath_root" && cat setup.py environment/lock.txt environment/*.py environment/*/*.py | cksum)
}

# Succeeds unless PURCHASEPATH_PYTHON asks for another Python than .venv has.
python_is_wanted() {
  [[ -z ${PURCHASEPATH_PYTHON:-} ]] || [[ -d $purchasepath_root/.venv/lib/python$("$PURCHASEPATH_PYTHON" -c \
    'import sys; print("%d.%d" % sys.version_info[:2])') ]]
}

# Makes the environment complete for the profile, or explains and returns non-zero.
ensure_environment() {
  local profile=$1 root=$purchasepath_root wanted python
  wanted=$(wanted_stamp)
  if [[ $(cat "$root/.venv/complete-$profile" 2>/dev/null) == "$wanted" ]] && python_is_wanted; then return 0; fi
  python=$(find_python)
  check_prerequisites "$python" || return 2
  JAVA_HOME=$(find_java_home) "$python" "$root/environment/set_up.py" "$profile" "$wanted"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  ensure_environment "${1:-all}"
fi
