mkdir files
printf x > files/capable
printf x > files/user
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 files/capable
setfattr -n user.note -v hello files/user
