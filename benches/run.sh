#!/usr/bin/env bash
# Measures idgate beside the limits of its platform, with the bench's harness.
#
#   benches/run.sh setup             builds what it is measured against (once; some minutes)
#   benches/run.sh hit-hot miss      builds idgate, measures; bench.py's options and commands go through
#
# BENCH       the harness (default ../shared/bench)
# BENCH_WORK  builds and results (default target/bench); keep it for later runs
# GATEWAY     a binary to measure instead of this checkout's
#
# Needs Python 3.11 and Debian's nginx-light, wrk, openssl; for callgrind and syscalls valgrind and strace.
set -euo pipefail
if [ $# -eq 0 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
bench=$(cd "${BENCH:-../shared/bench}" && pwd)
mkdir -p "${BENCH_WORK:=target/bench}"
BENCH_WORK=$(cd "$BENCH_WORK" && pwd)
export BENCH_WORK

if [ "$1" = setup ]; then
  # The Rust peers only: bench.py's own setup builds the Node and Python ones, too.
  mkdir -p "$BENCH_WORK/rust"
  cp -r "$bench/peers/rust/." "$BENCH_WORK/rust"
  chmod -R u+w "$BENCH_WORK/rust"
  CARGO_TARGET_DIR=$BENCH_WORK/target exec cargo build --release --manifest-path "$BENCH_WORK/rust/Cargo.toml"
fi

if [ -z "${GATEWAY:-}" ]; then
  cargo build --release --locked --bin idgate
  GATEWAY=$PWD/target/release/idgate
fi
# bench.py takes a template below its own peers/, or anywhere by an absolute path.
sed -e "s|{here}|$here|" -e "s|{idgate}|$GATEWAY|" "$here/targets.toml" >"$BENCH_WORK/targets.toml"
exec "$bench/bench.py" --targets-file "$BENCH_WORK/targets.toml" --out "$BENCH_WORK/results/report.md" "$@"
