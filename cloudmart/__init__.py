"""CloudMart: one declaration of a shop, built with Pulumi, checked and priced before it is merged."""
