#!/bin/sh
# Looks words up in /usr/share/words.
case "$1" in
--help | "") echo "usage: words --check | words WORD..." ;;
--check) test -s /usr/share/words && echo "$(wc -l < /usr/share/words) words, all well" ;;
*) for word; do grep -qx "$word" /usr/share/words && echo "$word: known" || echo "$word: unknown"; done ;;
esac
