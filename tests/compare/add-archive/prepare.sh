. "$CORPUS/archive-tree.sh"
gzip -nk t.tar
bzip2 -k t.tar
xz -k t.tar
cp t.tar.gz renamed
