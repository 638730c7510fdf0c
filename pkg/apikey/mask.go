package apikey

// How lists show a key after its creation: enough for a person to tell two keys apart,
// and nothing but the public parts, so that a mask says nothing about the secret.

// Mask is the canonical face's form: prefix, first 3 characters of the id and four
// stars, "mk_a1b****".
func Mask(prefix string, id ID) string { return prefix + "_" + head(id, 3) + "****" }

// AccountMask is the account face's form: prefix and first 4 characters of the id,
// "ml_prod_abc1".
func AccountMask(prefix string, id ID) string { return prefix + "_" + head(id, 4) }

func head(id ID, n int) string { return string(id[:min(n, len(id))]) }
