/**
 * SHA-256 of a text. Loads node:crypto when it is first called, not when a module that may need it is loaded: that takes 5 ms, and most
 * starts of a guest hash nothing.
 */

/** In hexadecimal, of the text's UTF-8. */
export function sha256Hex(text: string): string {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');
}
