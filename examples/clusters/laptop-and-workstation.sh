#!/bin/bash
# A laptop and a workstation as one Ray cluster, without a shared disk.
#
#   on the workstation:  ./laptop-and-workstation.sh workstation
#   on the laptop:       ./laptop-and-workstation.sh laptop WORKSTATION_IP --recipe standard
#
# Both need the same versions of Python (3.x) and Ray, and the packages of fkd-kaggle:
#   pip install 'fkd-kaggle[cluster]'
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
PORT=${PORT:-6379}

case "${1:-}" in
workstation)
    ray start --head --port="$PORT" --include-dashboard=false
    echo "stop it with: ray stop"
    ;;
laptop)
    address="$2:$PORT"
    shift 2
    ray start --address="$address"
    trap 'ray stop' EXIT
    fkd-kaggle train-ensemble --cluster "$address" "$@"
    ;;
*)
    echo "usage: $0 workstation | $0 laptop WORKSTATION_IP OPTIONS" >&2
    exit 2
    ;;
esac
