/** Templates say only what Nestling's commands understand, and each is of its kind. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { TEMPLATES } from './templates.ts';

/** Calls of `nestling COMMAND …` in a text, as words; also of the image whose entry point it is. */
function calls(text: string): { command: string; options: string[] }[] {
  const plain = text.replaceAll(/[",[\]']/g, ' ');
  return [...plain.matchAll(/\b(?:nestling|guests) +(run|doctor|ci)\b([^\n|&;]*)/g)].map(
    ([, command = '', rest = '']) => ({
      command,
      options: rest.split(/\s+/).filter((word) => word.startsWith('--')),
    }),
  );
}

/** The source of a subcommand names its options. */
function understood(command: string): string {
  const files = command === 'run' ? ['run-options.ts'] : [`${command}.ts`];
  return files.map((file) => readFileSync(new URL(`../cli/${file}`, import.meta.url), 'utf8')).join('\n');
}

describe.each(Object.entries(TEMPLATES))('%s', (kind, { content, next, file }) => {
  it('calls only commands and options that there are', () => {
    const found = calls(`${content}\n${next}`);
    expect(found.length).toBeGreaterThan(0);
    for (const { command, options } of found)
      for (const option of options) expect(understood(command), `${command} ${option}`).toContain(option);
  });

  it('runs a guest after asking the doctor, and has comments', () => {
    const words = `${content}${next}`;
    expect(words).toMatch(/doctor[^]*\brun\b[^]*guest\.xml/);
    expect(content).toMatch(/^\s*(#|\/\/) /m);
    expect(content).not.toMatch(/\t|undefined|’/);
    expect(file).toMatch(kind === 'docker' ? /^Dockerfile$/ : /\w/);
  });

  it('installs a Node that is new enough', () => {
    const versions = [...content.matchAll(/(?:node:|node-version: |Node\.js )(\d+)/g)].map(([, major]) =>
      Number(major),
    );
    expect(versions.length).toBeGreaterThan(0);
    for (const major of versions) expect(major).toBeGreaterThanOrEqual(20);
  });
});

it('shell parts are shell', () => {
  const scripts = {
    jenkins: /sh '''\n([^]*?)'''/.exec(TEMPLATES['jenkins']?.content ?? '')?.[1] ?? '',
    docker: (TEMPLATES['docker']?.content ?? '')
      .replace(/^RUN /gm, '')
      .replace(/^(FROM|WORKDIR|ENTRYPOINT|CMD) .*$/gm, ''),
    gitlab: [...(TEMPLATES['gitlab']?.content ?? '').matchAll(/^ {4}- (.*)$/gm)].map(([, line]) => line).join('\n'),
    github: [...(TEMPLATES['github']?.content ?? '').matchAll(/run: (?:\|\n)?((?:.+\n)+?)(?= {6}-)/g)]
      .map(([, line]) => line)
      .join('\n'),
  };
  for (const [kind, script] of Object.entries(scripts)) {
    expect(script.trim(), kind).not.toBe('');
    const { status, stderr, error } = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' });
    expect([kind, error, status, stderr]).toEqual([kind, undefined, 0, '']);
  }
});

it('a Dockerfile has only instructions, each once where it matters', () => {
  const lines = (TEMPLATES['docker']?.content ?? '').replaceAll('\\\n', ' ').split('\n');
  const instructions = lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(' ')[0]);
  expect(instructions[0]).toBe('FROM');
  expect(new Set(instructions)).toEqual(new Set(['FROM', 'RUN', 'WORKDIR', 'ENTRYPOINT', 'CMD']));
  for (const line of lines.filter((text) => /^(ENTRYPOINT|CMD) /.test(text)))
    expect(Array.isArray(JSON.parse(line.replace(/^\S+ /, '')))).toBe(true);
});

it('braces of a Jenkinsfile are balanced, and YAML is indented by twos', () => {
  const jenkins = TEMPLATES['jenkins']?.content ?? '';
  expect(jenkins.split('{').length).toBe(jenkins.split('}').length);
  for (const kind of ['github', 'gitlab']) {
    for (const line of (TEMPLATES[kind]?.content ?? '').split('\n'))
      expect((/^ */.exec(line)?.[0].length ?? 0) % 2, line).toBe(0);
  }
});
