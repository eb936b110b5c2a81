"""SQL, forward only: `NNNN_what.sql`, applied once each in order. An applied file is never changed."""
