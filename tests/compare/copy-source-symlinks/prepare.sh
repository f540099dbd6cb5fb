ln -s a.txt to-file
ln -s tree to-tree
mkdir links
ln -s ../a.txt links/inner
ln -s nowhere links/broken
ln -s ../tree links/dir
ln -s / up
