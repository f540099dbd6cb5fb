mkdir -p owned/sub link-absolute
printf x > owned/sub/implied
printf y > link-absolute/through
tar --owner=0 --group=0 --mtime=@1000000000 -cf implied.tar owned/sub/implied
tar --owner=0 --group=0 --mtime=@1000000000 -cf through.tar link-absolute/through
