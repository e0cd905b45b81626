/** Takes secrets out of what is sent to others: environments, definitions, command lines, logs. Better too much than too little. */

const LEFT_OUT = '(left out)';
const SECRET_NAME = /TOKEN|SECRET|PASS(WORD|WD|PHRASE)|_PASS\b|KEY|CREDENTIAL|AUTH/i;
/** `--password=x`, `vault-token: x`, `API_KEY="x y"`; the name's end decides, so that `keyboard=de` and `auth=none` stay. */
const ASSIGNMENT =
  /((?:[\w-]*(?:token|secret|passwd|password|passphrase|credentials?|api[_-]?key|access[_-]?key|private[_-]?key))["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)/gi;
const OPTION = /(--?[\w-]*(?:token|secret|password|passwd|passphrase|api-?key)\s+)([^\s-]\S*)/gi;
/** User and password of a URL. */
const USER_INFO = /([a-z][a-z0-9+.-]*:\/\/)[^\s/@'"]+@/gi;
const BEARER = /\b(bearer|basic)\s+[\w+/=._~-]{8,}/gi;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g;

/** Values of variables whose names sound like secrets are left out, and passwords in the other ones' URLs. */
export function redactEnvironment(env: NodeJS.ProcessEnv): string {
  return Object.entries(env)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value = '']) => `${name}=${SECRET_NAME.test(name) ? LEFT_OUT : redactText(value)}\n`)
    .join('');
}

/** Command lines, logs, configuration: values of what is called a password, token or secret. */
export function redactText(text: string): string {
  return text
    .replace(PRIVATE_KEY, LEFT_OUT)
    .replace(USER_INFO, `$1${LEFT_OUT}@`)
    .replace(BEARER, `$1 ${LEFT_OUT}`)
    .replace(ASSIGNMENT, `$1${LEFT_OUT}`)
    .replace(OPTION, `$1${LEFT_OUT}`);
}

/** Passwords of displays, and secrets of qemu:commandline, go. */
export function redactXml(xml: string): string {
  return xml
    .replace(/(\b(?:passwd|password|secret|auth)\s*=\s*)("[^"]*"|'[^']*')/gi, `$1'${LEFT_OUT}'`)
    .replace(/(<(?:\w+:)?(?:cookie|password|passwd|secret)\b[^>/]*>)[^<]+(?=<\/)/gi, `$1${LEFT_OUT}`)
    .replace(/<qemu:(?:arg|env)\b[^>]*>/g, redactQemuElement)
    .replace(USER_INFO, `$1${LEFT_OUT}@`);
}

function redactQemuElement(element: string): string {
  const name = /\bname=["']([^"']*)/.exec(element)?.[1] ?? '';
  const value = /\bvalue=["']([^"']*)/.exec(element)?.[1] ?? '';
  const isSecret = SECRET_NAME.test(name) || /secret|password|passwd|token/i.test(value);
  return isSecret ? element.replace(/(\bvalue=)("[^"]*"|'[^']*')/, `$1'${LEFT_OUT}'`) : element;
}
