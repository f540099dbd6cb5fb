mkdir -p link-absolute
printf y > link-absolute/through
tar --owner=0 --group=0 --mtime=@1000000000 -cf through.tar link-absolute/through
rm -r link-absolute
