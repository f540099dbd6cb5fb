# Makes t.tar in a case's context: files of every sort with owners, modes and times that git cannot keep.
mkdir -p t/sub t/empty
printf one > t/one
printf two > t/sub/two
chmod 750 t/sub
chmod 4711 t/sub/two
ln -s one t/soft
ln t/one t/hard
tar --owner=11 --group=22 --numeric-owner --mtime=@1000000000 --sort=name -C t -cf t.tar .
rm -r t
