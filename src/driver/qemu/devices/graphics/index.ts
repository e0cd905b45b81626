/** Displays: not devices of the guest, so they have no alias and no address, and are planned as a section. */
export { fillGraphicsDefaults } from './defaults.ts';
export { planGraphics } from './plan.ts';
export { validateGraphics } from './validate.ts';
