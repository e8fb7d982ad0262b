// Passkeys in forms.
