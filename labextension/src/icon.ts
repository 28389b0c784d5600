/** The sidebar's icon: a curve that breaks off and goes on. */

import { LabIcon } from '@jupyterlab/ui-components';

export const resumeIcon = new LabIcon({
  name: 'jupyter-resume:icon',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">
  <g class="jp-icon3 jp-icon-selectable" fill="none" stroke="#616161" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
    <path d="M1.5 2.5c.6 4.2 1.6 6.2 4 7.2"/>
    <path d="M9 11.2c1.6.5 3.3.7 5.5.8"/>
    <path d="M11.2 3.2 14.5 5.6l-3.3 2.4z" fill="#616161" class="jp-icon3 jp-icon-selectable"/>
  </g>
</svg>`
});
