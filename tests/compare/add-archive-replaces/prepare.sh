mkdir -p tree/top
printf z > tree/top/now-a-directory
printf b > link-to-tree
tar --owner=0 --group=0 --mtime=@1000000000 -cf kinds.tar tree/top link-to-tree
rm -r tree link-to-tree
