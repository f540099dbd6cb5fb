mkdir links
printf x > links/a
ln links/a links/b
mkdir links/sub
ln links/a links/sub/c
printf y > links/alone
