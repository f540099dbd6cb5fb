mkfifo fifo
mkdir dir
mkfifo dir/fifo
printf x > dir/file
