#!/usr/bin/env bash
# Runs one stage, or all of them, through spark-submit; makes the environment on first use.
# Exit codes: 0 done; 2 you can put it right (one message); 1 a defect (with traceback).

set -euo pipefail
# The same on every machine: texts and file names are UTF-8 also where cron, systemd or a container name no locale (the
# JVM's file names follow LC_ALL alone), and clocks are read in UTC. Python starts as it does without settings.
export LC_ALL=C.UTF-8 TZ=UTC
unset PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONIOENCODING
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=environment/ensure.sh
source "$root/environment/ensure.sh"

# Names and help of the stages, written from lib/purchasepath/stages.py by `make docs`: there may be no Python yet.
stages_text=$(cat "$root/environment/stages.txt")
stages=() stage_line='^  ([a-z]+) '
while IFS= read -r line; do
  [[ ! $line =~ $stage_line ]] || stages+=("${BASH_REMATCH[1]}")
done <<<"$stages_text"

usage() {
  printf '%s\n\n%s\n\n' "./spark-submit.sh <stage> [options]" "$stages_text"
  cat <<'TEXT'
options:
  --config FILE              YAML file with values that differ from the defaults; later files win
  --set SECTION.KEY=VALUE    one value; docs/configuration.md lists them all
  --pack-environment         ship .venv to the executors of a cluster whose nodes do not have it
  any option of spark-submit (--master, --deploy-mode, --conf, --num-executors, --py-files, …)

Without --master a stage runs on all cores of this machine. docs/cluster.md tells about clusters.
TEXT
}

fail() {
  echo "error: $1" >&2
  exit 2
}

stage=${1:-}
case $stage in
  "" | -h | --help | help) usage; exit 0 ;;
esac
if [[ " ${stages[*]} " != *" $stage "* ]]; then
  python=$(find_python)
  hint=" (known: ${stages[*]})"
  [[ -z $python ]] || hint=$(PYTHONPATH=$root/lib "$python" -c '
import sys
from purchasepath.errors import nearest
print(nearest(sys.argv[1], sys.argv[2:]))' "$stage" "${stages[@]}")
  fail "unknown stage \`$stage\`$hint; ./spark-submit.sh --help lists the stages"
fi
shift

# Options with a value that are spark-submit's own; everything else on the command line belongs to the job.
spark_options=" --master --deploy-mode --name --class --jars --packages --exclude-packages --repositories --py-files
  --files --archives --conf -c --properties-file --driver-memory --driver-java-options --driver-library-path
  --driver-class-path --driver-cores --executor-memory --executor-cores --total-executor-cores --num-executors
  --queue --principal --keytab --proxy-user --remote "
spark_flags=" --supervise --load-spark-defaults --verbose "

spark=() job=() master="local[*]" deploy_mode=client py_files="" archives="" properties="" pack=${PURCHASEPATH_PACK_ENV:-}
while (($#)); do
  if [[ $1 == --*=* && $spark_options =~ [[:space:]]${1%%=*}[[:space:]] ]]; then
    set -- "${1%%=*}" "${1#*=}" "${@:2}"
  fi
  if [[ $1 == --pack-environment ]]; then
    pack=1
  elif [[ $1 == -* && $spark_flags =~ [[:space:]]$1[[:space:]] ]]; then
    spark+=("$1")
  elif [[ $1 == -* && $spark_options =~ [[:space:]]$1[[:space:]] ]]; then
    (($# > 1)) || fail "$1 expects a value"
    case $1 in
      --master) master=$2 ;;
      --deploy-mode) deploy_mode=$2 ;;
      --py-files) py_files=$2 ;;
      --archives) archives=$2 ;;
      --properties-file) properties=$2 ;;
      --conf | -c)
        [[ $2 != spark.master=* ]] || master=${2#*=}
        [[ $2 != spark.submit.deployMode=* ]] || deploy_mode=${2#*=}
        spark+=(--conf "$2") ;;
      *) spark+=("$1" "$2") ;;
    esac
    shift
  else
    job+=("$1")
  fi
  shift
done

if [[ $stage == doctor ]]; then # runs on any Python, also where set-up failed: finding out why is its purpose
  python=$root/.venv/bin/python
  [[ -x $python ]] || python=$(find_python)
  exec env JAVA_HOME="$(find_java_home)" "${python:-python3}" "$root/jobs/doctor.py" ${job[@]+"${job[@]}"}
fi

# Only who turns ids into pseudonyms holds the key: no query, model or report is answered by a process that does.
[[ $stage == ingest || $stage == pipeline ]] || unset PURCHASEPATH_KEY

ensure_environment all || exit $?
venv=$root/.venv
export JAVA_HOME
JAVA_HOME=$(find_java_home)
[[ -n $JAVA_HOME ]] || fail "no JDK 17 found; ./spark-submit.sh doctor tells how to install one"
bundled=$(echo "$venv"/lib/python3.*/site-packages/pyspark)

if [[ $master == local || $master == local\[* ]]; then
  # Whatever another Spark, a notebook or a cluster's gateway has set up for itself is not for this one.
  for name in "${!SPARK_@}" "${!PYSPARK_@}"; do
    [[ $name == SPARK_LOCAL_* || $name == SPARK_SUBMIT_OPTS ]] || unset "$name"
  done
  export SPARK_HOME=$bundled PYSPARK_PYTHON=$venv/bin/python PYSPARK_DRIVER_PYTHON=$venv/bin/python
  export PYTHONPATH=$root/lib SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
  spark+=(--properties-file "${properties:-$root/conf/spark/local.conf}")
  # A query lives for seconds; without the JVM's second compiler it starts with half the processor time.
  [[ $stage != sql ]] ||
    spark=(--conf "spark.driver.defaultJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" "${spark[@]}")
else
  export SPARK_HOME=${SPARK_HOME:-$bundled} # a cluster may come with a Spark of its own
  # shellcheck source=environment/ship.sh
  source "$root/environment/ship.sh"
  ship_package
  [[ -z $pack ]] || ship_environment
  if [[ $deploy_mode == cluster ]]; then ship_files && ship_locale; else export PYSPARK_DRIVER_PYTHON=${PYSPARK_DRIVER_PYTHON:-$venv/bin/python}; fi
  export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$venv/bin/python}
  spark+=(--deploy-mode "$deploy_mode" --properties-file "${properties:-$root/conf/spark/cluster.conf}" --load-spark-defaults)
fi
# Spark reads log4j2.properties from this directory: our lines on the console, not Spark's.
export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/conf/spark}
export SPARK_SUBMIT_OPTS="${SPARK_SUBMIT_OPTS:+$SPARK_SUBMIT_OPTS }-Dfile.encoding=UTF-8 -Duser.timezone=UTC"
[[ -z $py_files ]] || spark+=(--py-files "$py_files")
[[ -z $archives ]] || spark+=(--archives "$archives")

# Copies standard error but for the line with which every JVM that loads Spark's vector module greets.
without_greeting() {
  local first
  trap "" INT TERM # what the job says when it is interrupted still has to get out
  IFS= read -r first || true
  [[ $first == "WARNING: Using incubator modules"* ]] || printf '%s\n' "$first"
  exec cat
}

exec "$SPARK_HOME/bin/spark-submit" --master "$master" "${spark[@]}" "$root/jobs/$stage.py" ${job[@]+"${job[@]}"} \
  2> >(without_greeting >&2)
