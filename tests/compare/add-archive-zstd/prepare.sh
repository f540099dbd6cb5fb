. "$CORPUS/archive-tree.sh"
zstd -q t.tar
