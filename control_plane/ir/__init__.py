"""What the gateway must do, without a word of Envoy: frozen, printable, and built by a visible list of passes."""
