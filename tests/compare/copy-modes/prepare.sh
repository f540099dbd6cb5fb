mkdir d sticky setgid
printf x > d/none
printf x > setuid
printf x > read-only
chmod 000 d/none
chmod 6755 setuid
chmod 444 read-only
chmod 1777 sticky
chmod 2775 setgid
chmod 500 d
