"""Images that are compared, real and generated: which there are, their labels, and the cells figures are taken over."""
