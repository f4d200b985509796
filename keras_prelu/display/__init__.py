"""How results look: tables for terminals and notebooks, and figures. It knows no Keras."""
