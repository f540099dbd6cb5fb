chmod 700 owned/sub
chmod 711 owned/fresh
