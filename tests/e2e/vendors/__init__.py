"""Stand-ins for the vendors, each speaking its own protocol on loopback and keeping what it hears."""
