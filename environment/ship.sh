# What executors of a cluster get: the package, and where asked the environment. Sourced by spark-submit.sh, whose
# variables (root, venv, spark, py_files, archives) these functions read and extend.
# shellcheck shell=bash disable=SC2154,SC2034

shipped=$root/var/shipped

# The package as a zip beside the user's own --py-files, named by its content: a running job keeps the one it started with.
ship_package() {
  local zip
  zip=$("$venv/bin/python" "$root/environment/archive.py" package "$shipped")
  py_files=${py_files:+$py_files,}$zip
}

# .venv as an archive that unpacks to ./environment on every executor. A virtual environment finds its packages
# relative to its python, so it may move, as long as the nodes have the same Python at the same path.
ship_environment() {
  local tar
  tar=$("$venv/bin/python" "$root/environment/archive.py" environment "$shipped")
  archives=${archives:+$archives,}$tar#environment
  PYSPARK_PYTHON=./environment/bin/python
  spark+=(--conf spark.yarn.appMasterEnv.PYSPARK_PYTHON="$PYSPARK_PYTHON"
    --conf spark.executorEnv.PYSPARK_PYTHON="$PYSPARK_PYTHON")
}

# In cluster mode the driver starts in an empty directory: bring conf/ along, so that `--config conf/x.yaml` works there.
ship_files() {
  local zip
  zip=$("$venv/bin/python" "$root/environment/archive.py" conf "$shipped")
  archives=${archives:+$archives,}$zip#conf
}

# A driver on the cluster starts with that node's locale and zone: give it those of spark-submit.sh. Executors have
# theirs from the session.
ship_locale() {
  local name place
  for name in LC_ALL TZ; do
    for place in spark.yarn.appMasterEnv spark.kubernetes.driverEnv; do
      spark+=(--conf "$place.$name=${!name}")
    done
  done
}
