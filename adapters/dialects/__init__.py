"""How clients speak: one module (or package) an endpoint, from its words to the neutral shape and back."""
