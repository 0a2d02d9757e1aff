"""How bright lesions are, and lesions cut out to be drawn again."""
