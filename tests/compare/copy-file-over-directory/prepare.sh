mkdir -p top/tree
printf x > top/tree/a
