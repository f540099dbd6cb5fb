. "$CORPUS/archive-tree.sh"
