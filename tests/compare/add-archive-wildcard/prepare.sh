. "$CORPUS/archive-tree.sh"
printf x > other
tar --owner=0 --group=0 --mtime=@1000000000 -cf u.tar other
